# vmem: `make demo` shows it, `make test` tests it; both do all set-up.
#
#   all      build/vmem/core.so, build/libvmem-{record,malloc}.so, build/bin/vmem
#   library  build/libvmem.so, for hosts without Lua (src/vmem.h)
#   deps     look for what is needed again, and install what is missing
#   demo     a recorded program through a small machine
#   test     build with warnings as errors, check each file alone, run the specs
#   lint     luacheck, clang-format, cppcheck and the rules of the house
#   asan     the specs under AddressSanitizer and UndefinedBehaviorSanitizer, with a
#            fifth of the random cases: VMEM_CASES=1 for all
#   soak     random programs against a flat model for long: STEPS=1000000 SEED=
#   bench    rates, as ratios within one run
#   docs     write the reference anew from the tables in the code
#   env      eval "$(make -s env)": use the build tree from any folder
#   install  PREFIX=/usr/local, DESTDIR=
#
# Variables: CC, OPT (-O2), LUA, PREFIX, DESTDIR, SPEC (specs or options for
# spec/run.lua), JOBS (as many as processors), WERROR= to build with a compiler
# that warns of more.

BUILD   := build
PREFIX  ?= /usr/local
DESTDIR ?=
SPEC    ?=
OPT     ?= -O2

# Compilers at once, and processes that share the specs out.
JOBS    ?= $(or $(shell nproc 2>/dev/null),1)
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(JOBS)
endif

.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all
.PHONY: all library deps demo test check lint asan soak bench docs env install clean FORCE

# --- what is needed: found (or installed) once, kept in build/config.mk -------

ifneq ($(filter-out clean,$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/config.mk
endif

$(BUILD)/config.mk: tools/deps.sh
	@CC="$(CC)" LUA="$(LUA)" tools/deps.sh build $@

ifneq ($(words $(CONFIG_FILES)),$(words $(wildcard $(CONFIG_FILES))))
$(BUILD)/config.mk: FORCE
endif

deps:
	@CC="$(CC)" LUA="$(LUA)" tools/deps.sh build $(BUILD)/config.mk
	@sed -n 's/^\(LUA[A-Z_]*\) := /\1 = /p' $(BUILD)/config.mk

# --- building -----------------------------------------------------------------

WARN   := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes
WERROR ?= -Werror
CSTD   := -std=c11 -D_GNU_SOURCE=
LIBS   := -lz -lzstd -lpthread -lm

ifneq ($(HAVE_LZMA),)
CSTD += -DVM_HAVE_LZMA=1
LIBS += -llzma
endif

# Lua's own functions come from the interpreter that loads the module.
ifeq ($(shell uname -s),Darwin)
SHARED := -bundle -undefined dynamic_lookup
else
SHARED := -shared
endif

# The library for hosts without Lua: the number is that of the interface.
ifeq ($(shell uname -s),Darwin)
LIBRARY_FILE := libvmem.0.dylib
LIBRARY_LINK := libvmem.dylib
LIBRARY_FLAGS = -dynamiclib -install_name '$(PREFIX)/lib/$(LIBRARY_FILE)'
else
LIBRARY_FILE := libvmem.so.0
LIBRARY_LINK := libvmem.so
LIBRARY_FLAGS = -shared -Wl,-soname,$(LIBRARY_FILE)
endif

COMPILE = $(CC) $(CSTD) $(OPT) -g -fPIC -fvisibility=hidden $(WARN) $(WERROR) $(LUA_CFLAGS) $(CFLAGS)

SOURCES := $(sort $(wildcard src/*.c src/*/*.c))
# Headers without a guard are templates: their includer defines what they need.
HEADERS := $(sort $(shell grep -lE '^\#ifndef VM_[A-Z0-9_]*_H$$' $(wildcard src/*.h src/*/*.h)))
FACE    := $(sort $(patsubst lua/%,%,$(wildcard lua/vmem/*.lua lua/vmem/*/*.lua)))
# The recorders are libraries of their own, no part of the one translation unit.
# That of allocations is for Linux: see src/record/malloc.c.
RECORDER := $(filter-out src/record/malloc.c,$(wildcard src/record/*.c))

CORE      := $(BUILD)/vmem/core.so
RECORDERS := $(BUILD)/libvmem-record.so $(if $(filter Linux,$(shell uname -s)),$(BUILD)/libvmem-malloc.so)

all: $(CORE) $(RECORDERS) $(BUILD)/bin/vmem

# Rewritten only when it would differ: another compiler or other flags rebuild.
FLAGS := $(CC) $(CSTD) $(OPT) $(LUA_CFLAGS) $(CFLAGS) $(LDFLAGS)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' >$@

$(CORE): src/vmem_all.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -MF $(BUILD)/core.d $(SHARED) $(LDFLAGS) -o $@ $< $(LIBS)

$(BUILD)/libvmem-record.so: $(RECORDER) $(wildcard src/record/*.h src/base/*.h) $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(SHARED) $(LDFLAGS) -o $@ $(RECORDER) -lpthread

# TLS of the initial kind: the functions must not allocate to find their own.
$(BUILD)/libvmem-malloc.so: src/record/malloc.c src/record/log.h $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(SHARED) $(LDFLAGS) -o $@ $< -ldl

$(BUILD)/bin/vmem: bin/vmem tools/launcher.sh $(BUILD)/config.mk
	@mkdir -p $(@D)
	@tools/launcher.sh '$(LUA)' '$(CURDIR)/lua' '$(CURDIR)/$(BUILD)' >$@
	@chmod +x $@

-include $(BUILD)/core.d

LIBRARY := $(BUILD)/$(LIBRARY_FILE)

library: $(LIBRARY)

$(LIBRARY): src/vmem_all.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) -DVM_LIBRARY=1 -MMD -MP -MF $(BUILD)/library.d $(LIBRARY_FLAGS) $(LDFLAGS) -o $@ $< $(LIBS)
	@ln -sf $(LIBRARY_FILE) $(BUILD)/$(LIBRARY_LINK)

-include $(BUILD)/library.d

# A command that sees the build tree, whatever the caller's environment says.
RUN = env -u LUA_PATH_5_4 -u LUA_CPATH_5_4 LUA_PATH='$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;' \
    LUA_CPATH='$(CURDIR)/$(BUILD)/?.so;;' PATH='$(CURDIR)/$(BUILD)/bin':"$$PATH"

# --- testing ------------------------------------------------------------------

# Each file compiles alone: a header includes what it uses, a .c file too.
CHECKS := $(patsubst %,$(BUILD)/check/%.ok,$(SOURCES) $(HEADERS))
SYNTAX  = $(CC) $(CSTD) -fsyntax-only $(WARN) -Werror $(LUA_CFLAGS) -MMD -MP -MF $(@:.ok=.d) -MT $@

check: $(CHECKS)

$(BUILD)/check/%.c.ok: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@$(SYNTAX) $<
	@touch $@

$(BUILD)/check/%.h.ok: %.h $(BUILD)/flags
	@mkdir -p $(@D)
	@$(SYNTAX) -include $< -x c /dev/null
	@touch $@

-include $(CHECKS:.ok=.d)

# A module for specs: allocations that fail.
FAIL := $(BUILD)/fail.so

$(FAIL): spec/fail.c src/base/base.h $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(SHARED) $(LDFLAGS) -o $@ $<

test: all library check $(FAIL)
	@$(LUA) spec/run.lua --jobs $(JOBS) $(SPEC)

# A static host with the module preloaded: the sanitizers are then the
# program's own, and leaks are reported with the names of their functions.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
HOST     := $(BUILD)/asan/host

$(HOST): src/vmem_all.c spec/host.c $(BUILD)/flags
	@mkdir -p $(@D)
	@test -n "$(LUA_LIBS)" || { echo "vmem: no library of Lua 5.4 to link with (liblua5.4)" >&2; exit 1; }
	$(CC) $(CSTD) -O1 -g $(SANITIZE) $(WARN) -Werror -DVM_DEBUG=1 $(LUA_CFLAGS) -MMD -MP -MF $(BUILD)/asan/core.d \
	    -MT $@ -c -o $(BUILD)/asan/core.o src/vmem_all.c
	$(CC) $(CSTD) -O1 -g $(SANITIZE) $(WARN) -Werror $(LUA_CFLAGS) -Wl,-E -o $@ spec/host.c \
	    $(BUILD)/asan/core.o $(LUA_LIBS) $(LIBS)

-include $(BUILD)/asan/core.d

# Hosts without Lua, so too: the object holds both faces, hence Lua's library.
EMBEDS := $(BUILD)/asan/examples_embed $(BUILD)/asan/spec_embed

$(BUILD)/asan/%_embed: %/embed.c src/vmem.h $(HOST)
	$(CC) -std=c11 -O1 -g $(SANITIZE) $(WARN) -Werror -Isrc -o $@ $< $(BUILD)/asan/core.o $(LUA_LIBS) $(LIBS)

asan: $(HOST) $(EMBEDS) all library $(FAIL)
	@VMEM_CASES=$${VMEM_CASES:-0.2} \
	 ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1:$$ASAN_OPTIONS \
	 UBSAN_OPTIONS=print_stacktrace=1:$$UBSAN_OPTIONS $(HOST) spec/run.lua --jobs $(JOBS) $(SPEC)

STEPS ?= 1000000
SEED  ?=
soak: all
	@$(RUN) $(LUA) spec/fuzz/kernel_fuzz.lua $(STEPS) $(SEED)

bench: all
	@$(RUN) $(LUA) spec/bench/run.lua $(SPEC)

demo: WERROR :=
demo: all
	@$(RUN) $(LUA) examples/demo.lua

# --- lint ---------------------------------------------------------------------

lint: $(CORE)
	@CC="$(CC)" tools/deps.sh lint
	+@LUA="$(LUA)" tools/lint.sh

docs: all
	@$(RUN) $(LUA) tools/docs.lua

# --- using and installing -----------------------------------------------------

# LUA_PATH_5_4 would hide LUA_PATH: what it holds is kept, in LUA_PATH.
env: all
	@echo 'export LUA_PATH='\''$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;'\''"$${LUA_PATH_5_4:-$${LUA_PATH:-;}}"'
	@echo 'export LUA_CPATH='\''$(CURDIR)/$(BUILD)/?.so;'\''"$${LUA_CPATH_5_4:-$${LUA_CPATH:-;}}"'
	@echo 'unset LUA_PATH_5_4 LUA_CPATH_5_4'
	@echo 'export PATH='\''$(CURDIR)/$(BUILD)/bin'\''":$$PATH"'

LUADIR := $(PREFIX)/share/lua/5.4
LIBDIR := $(PREFIX)/lib/lua/5.4

VERSION := $(shell sed -n 's/^\#define VMEM_VERSION "\(.*\)"/\1/p' src/vmem.h)

install: WERROR :=
install: all library
	install -d '$(DESTDIR)$(LIBDIR)/vmem' '$(DESTDIR)$(PREFIX)/bin'
	@for file in $(FACE); do \
	    install -d '$(DESTDIR)$(LUADIR)/'"$${file%/*}" && \
	    install -m 644 "lua/$$file" '$(DESTDIR)$(LUADIR)/'"$$file" || exit 1; \
	done
	install -m 755 $(CORE) '$(DESTDIR)$(LIBDIR)/vmem'
	install -m 755 $(RECORDERS) '$(DESTDIR)$(LIBDIR)'
	install -d '$(DESTDIR)$(PREFIX)/include' '$(DESTDIR)$(PREFIX)/lib/pkgconfig'
	install -m 644 src/vmem.h '$(DESTDIR)$(PREFIX)/include'
	install -m 755 $(LIBRARY) '$(DESTDIR)$(PREFIX)/lib'
	ln -sf $(LIBRARY_FILE) '$(DESTDIR)$(PREFIX)/lib/$(LIBRARY_LINK)'
	printf '%s\n' 'Name: vmem' 'Description: a virtual-memory laboratory' 'Version: $(VERSION)' \
	    'Cflags: -I$(PREFIX)/include' 'Libs: -L$(PREFIX)/lib -lvmem' >'$(DESTDIR)$(PREFIX)/lib/pkgconfig/vmem.pc'
	tools/launcher.sh '$(LUA)' '$(LUADIR)' '$(LIBDIR)' >'$(DESTDIR)$(PREFIX)/bin/vmem'
	chmod 755 '$(DESTDIR)$(PREFIX)/bin/vmem'

# The second line: what LuaRocks leaves where it builds.
clean:
	rm -rf $(BUILD)
	@rm -f vmem/core.so libvmem-record.so libvmem-malloc.so src/*.o src/*/*.o
	@rmdir vmem 2>/dev/null || true
