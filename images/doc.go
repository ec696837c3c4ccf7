// Package images is the bundle: everything that a node needs, as verified bytes in an OCI image layout,
// and the ways from there to a node: files below a root, images in containerd.
//
// Package pins says which versions a bundle holds, package build makes one from them. Not in it: what a
// node does with its files and images (bootstrap), and machines (providers).
package images
