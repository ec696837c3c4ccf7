// Package config reads the files that `slipway up --config`, `slipway init --config` and `slipway join --config` take: one YAML
// document, of one version and kind, strictly. docs/config.md and docs/servers-config.md document every field, Schema says the same
// to programs, and Example has them all for people.
//
// Not in it: defaults and the meaning of values (cmd, package server and package settings have one place for what comes from a
// file and from a flag).
package config
