-- How many of the random cases and of the exhaustive ones a spec runs, as a share of
-- what it runs by default: VMEM_CASES=0.1 where everything is slow (sanitizers),
-- VMEM_CASES=100 for a long look.
return tonumber(os.getenv("VMEM_CASES") or 1)
