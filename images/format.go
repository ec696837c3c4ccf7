package images

// What marks a bundle's index and the components in it.
const (
	Format = "1"

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
	KindFiles     = "files"     // a tree for a host, rooted at /
	KindRootfs    = "rootfs"    // the root file system of a machine
	KindManifests = "manifests" // upstream's YAML
)
