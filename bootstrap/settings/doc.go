// Package settings is what an administrator may want of Kubernetes' components beyond what Slipway gives them: arguments,
// feature gates, and the kubelet's configuration. It says what of that cannot be, all at once and before anything is
// made, and merges the rest into what Slipway gives.
//
// What the components of each version know is in known/, which hack/known writes.
//
// Not in it: the files that settings are written in (package config), and what Slipway gives (package node).
package settings
