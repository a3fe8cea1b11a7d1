# kumofs is built with go alone; these are shorthands.

GO ?= go

.PHONY: build test lint bench clean

build:
	$(GO) build -o bin/ ./cmd/...

test:
	$(GO) test ./...

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'gofmt would change:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

clean:
	rm -rf bin
