# The two commands of the README are `make up` and `make test`; everything else serves them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

NAME ?= dev
EGRESS ?=
VERSION = $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS = -s -w -X slipway.dev/slipway/cmd.version=$(VERSION)
TOOL = go tool -modfile=hack/tools/go.mod

.PHONY: help
help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

.PHONY: deps
deps: ## install the Debian packages that building needs (only if some are missing)
	@hack/install-deps

.PHONY: build
build: ## build bin/slipway
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/slipway ./cmd/slipway

.PHONY: bundle
bundle: deps build ## build the bundle of the default Kubernetes version (what is built already is kept)
	bin/slipway images build

.PHONY: up
up: deps build bundle ## launch the cluster "dev" and print its nodes (NAME=x, EGRESS=false)
	bin/slipway up --name $(NAME) $(if $(EGRESS),--egress=$(EGRESS))
	bin/slipway kubectl $(NAME) -- get nodes -o wide

.PHONY: down
down: build ## remove the cluster "dev" and every trace of it
	bin/slipway down $(NAME)

.PHONY: vm
vm: ## download what the tests' virtual machine is made of (only if it is missing)
	@hack/vm-packages

# One package at a time: tests of several packages make bridges, cgroups and clusters.
.PHONY: test
test: deps build bundle vm ## all tests, on real clusters
	SLIPWAY_E2E=required go test -count=1 -timeout 80m -p 1 ./...

.PHONY: bench
bench: deps build bundle ## slipway against kubeadm: local clusters (five rounds), then servers (three)
	SLIPWAY_E2E=required go test -run '^$$' -bench Up -benchtime 5x -timeout 60m ./e2e
	SLIPWAY_E2E=required go test -run '^$$' -bench Servers -benchtime 3x -timeout 90m ./e2e

.PHONY: lint
lint: ## check the code against .golangci.yml
	$(TOOL) golangci-lint config verify
	$(TOOL) golangci-lint run ./...
