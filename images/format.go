package images

// FormatVersion is the version of the bundle's format: the value of AnnotationFormat in its index.
const FormatVersion = "1"

// What marks the index of a bundle, and each component in it.
const (
	AnnotationFormat     = "dev.slipway.bundle.format"
	AnnotationKubernetes = "dev.slipway.kubernetes.version"
	AnnotationPlatform   = "dev.slipway.platform"
	AnnotationComponent  = "dev.slipway.component"
	AnnotationVersion    = "dev.slipway.version"
	AnnotationKind       = "dev.slipway.kind"
)

// The kinds of components.
const (
	KindImage     = "image"     // a container image
	KindFiles     = "files"     // programs of a host, rooted at /
	KindRootfs    = "rootfs"    // the root file system of a machine
	KindManifests = "manifests" // upstream's manifests, as they are
)
