-- The program of sqlite3.rep.zst: a library with its loans, in memory.
PRAGMA page_size = 1024;
CREATE TABLE book(id INTEGER PRIMARY KEY, title TEXT NOT NULL, author TEXT, year INTEGER);
CREATE TABLE loan(book INTEGER REFERENCES book, reader TEXT, day INTEGER);
CREATE INDEX by_author ON book(author, year);
CREATE INDEX by_reader ON loan(reader);
CREATE TRIGGER lent AFTER INSERT ON loan BEGIN
  UPDATE book SET title = title || '*' WHERE id = new.book AND new.day % 50 = 0;
END;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
  INSERT INTO book SELECT i, printf('%.*c %d', 5 + i * 7919 % 60, 'x', i), 'author ' || i * 31 % 83, 1900 + i % 120 FROM n;
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
  INSERT INTO loan SELECT 1 + i * 37 % 500, 'reader ' || i * 41 % 97, i FROM n;
COMMIT;
SELECT author, count(*), min(year), group_concat(title, '; ') FROM book GROUP BY author ORDER BY 2 DESC, 1 LIMIT 20;
SELECT reader, count(DISTINCT author) AS authors FROM loan JOIN book ON book.id = loan.book
  GROUP BY reader HAVING authors > 3 ORDER BY authors DESC, reader LIMIT 20;
DELETE FROM loan WHERE day % 3 = 0;
UPDATE book SET author = upper(author) WHERE year > 1960;
WITH RECURSIVE fib(a, b) AS (SELECT 0, 1 UNION ALL SELECT b, a + b FROM fib LIMIT 60) SELECT group_concat(a) FROM fib;
SELECT json_group_array(json_object('title', title, 'year', year)) FROM book WHERE author LIKE '%1%' AND year BETWEEN 1950 AND 1990;
CREATE TABLE top AS SELECT author, sum(days) AS days FROM
  (SELECT author, max(day) - min(day) AS days FROM book JOIN loan ON loan.book = book.id GROUP BY book.id) GROUP BY author;
SELECT * FROM top ORDER BY days DESC LIMIT 10;
DROP TABLE loan;
VACUUM;
