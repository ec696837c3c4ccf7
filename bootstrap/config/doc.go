// Package config reads the files that `slipway init --config` and `slipway join --config` take: one YAML document, of one
// version and kind, strictly. docs/servers-config.md documents every field.
//
// Not in it: defaults and the meaning of values (cmd and package server have one place for what comes from a file and
// from a flag), and the format in which a workstation describes a whole cluster.
package config
