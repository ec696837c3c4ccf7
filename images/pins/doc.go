// Package pins is the table of what Slipway installs: the supported Kubernetes minors and, for
// each, the one version of every component. Changing a version is changing this table and the
// upstream module of the same name; images/upstream/README.md says how.
//
// Not in it: how a component is built (images/build) or read (images).
package pins
