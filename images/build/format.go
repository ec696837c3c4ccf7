package build

// What marks a component in the bundle's index; package images reads the same.
const (
	annotationFormat     = "dev.slipway.bundle.format"
	annotationKubernetes = "dev.slipway.kubernetes.version"
	annotationPlatform   = "dev.slipway.platform"
	annotationComponent  = "dev.slipway.component"
	annotationVersion    = "dev.slipway.version"
	annotationKind       = "dev.slipway.kind"

	kindImage     = "image"
	kindFiles     = "files"
	kindRootfs    = "rootfs"
	kindManifests = "manifests"
)

func artifactType(kind string) string { return "application/vnd.slipway." + kind + ".v1" }
