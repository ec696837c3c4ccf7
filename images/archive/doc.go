// Package archive reads the images that a user brings: what `docker save` writes, an OCI archive, or the directory of an OCI
// layout. It says what is in one and gives its blobs by digest, so that only those need to be sent that somebody lacks.
//
// Not in it: containerd, nodes, and bundles, which are OCI layouts too but have rules of their own (images).
package archive
