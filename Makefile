# kumofs is built with go alone; these are shorthands.

GO ?= go

.PHONY: build run test unit lint docs package chart bench micro nemesis differential clean

# Static binaries. With a C compiler pebble takes memory from malloc, which the garbage collector
# does not see; then libc has to be linked in, if the system has it as an archive.
LIBC := $(filter /%,$(shell $$($(GO) env CC) -print-file-name=libc.a 2>/dev/null))
ifeq ($(shell $(GO) env GOOS)$(shell $(GO) env CGO_ENABLED)$(if $(LIBC),libc),linux1libc)
STATIC = -tags netgo,osusergo -ldflags '-linkmode external -extldflags -static'
endif

build:
	$(GO) build $(STATIC) -o bin/ ./cmd/...

# A local cluster: memcached on 127.0.0.1:11211, data in ./kumofs-data.
run: build
	bin/kumofs local

# Everything, with what it needs installed.
test:
	scripts/test

# What needs no other process.
unit:
	$(GO) test ./internal/... ./cmd/... ./client

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'gofmt would change:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags planted ./internal/...

# docs/flags.md, manual pages and completions, from the flags as they are. A test compares.
docs:
	$(GO) run ./internal/tools/docgen

# A deb and an rpm in dist/, with nfpm.
package:
	scripts/package

# Checks the Helm chart, with helm.
chart:
	scripts/chart

# kumofs beside memcached, redis-server and pebble; the figures go into BENCHMARKS.md.
bench: build
	scripts/deps
	$(GO) run ./test/bench -bin bin -write BENCHMARKS.md $(if $(SECTION),-section $(SECTION))

micro:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Real processes under faults and load for MINUTES, every operation checked.
MINUTES ?= 10
nemesis:
	scripts/deps
	$(GO) run ./test/nemesis -minutes $(MINUTES) $(if $(SEED),-seed $(SEED))

# COMMANDS random commands to memcached and to kumofs, answers compared.
COMMANDS ?= 1000000
differential:
	scripts/deps
	$(GO) test -count=1 -timeout 0 -v -run TestKumofs ./test/differential -commands $(COMMANDS) $(if $(SEED),-seed $(SEED))

clean:
	rm -rf bin
