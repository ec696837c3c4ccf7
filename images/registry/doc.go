// Package registry keeps bundles in an OCI registry: it pushes the directory of one, and pulls one into a directory. A bundle is
// an OCI image layout, so a registry holds its index, manifests and blobs byte for byte, and the digest of the index
// stands for all of it there too. No byte that was pulled gets its name before it was checked against its digest.
//
// Not in it: what is in a bundle and how it is used (images), and where pulled bundles lie (who calls says that).
package registry
