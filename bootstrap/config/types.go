package config

import "time"

// APIVersion is the version of all kinds.
const APIVersion = "slipway.dev/v1alpha1"

// The kinds.
const (
	InitKind  = "InitConfiguration"
	JoinKind  = "JoinConfiguration"
	LocalKind = "LocalCluster"
)

// Header is what every file has.
type Header struct {
	APIVersion string `yaml:"apiVersion" doc:"version of the format"`
	Kind       string `yaml:"kind" doc:"what the file is for"`
}

// A field that is nil was not in the file. Each is named after the flag that it stands for, where there is one.

// Host is what both kinds say of the host that becomes a node.
type Host struct {
	NodeName           *string  `yaml:"nodeName,omitempty" doc:"name of the node"`
	AdvertiseAddress   *string  `yaml:"advertiseAddress,omitempty" doc:"IPv4 address of this host in the cluster"`
	KubernetesVersion  *string  `yaml:"kubernetesVersion,omitempty" doc:"version or minor, as in 1.37; a bundle of another one is refused"`
	Bundle             *string  `yaml:"bundle,omitempty" doc:"directory of the bundle, or oci://HOST/NAME:TAG in a registry"`
	RegistryCA         *string  `yaml:"registryCA,omitempty" doc:"file with authorities that a registry may have its certificate from, besides the system's"`
	RegistryPlainHTTP  *bool    `yaml:"registryPlainHTTP,omitempty" doc:"let a registry be spoken to without TLS, passwords included"`
	VirtualIPInterface *string  `yaml:"virtualIPInterface,omitempty" doc:"link of this control plane that may get the virtual IP"`
	Skip               []string `yaml:"skip,omitempty" doc:"steps that you do yourself"`
	IgnorePreflight    []string `yaml:"ignorePreflight,omitempty" doc:"checks whose problems are only reported, or all"`
}

// InitConfiguration is what `slipway init` can be told.
type InitConfiguration struct {
	Header `yaml:",inline"`
	Host   `yaml:",inline"`

	ClusterName            *string        `yaml:"clusterName,omitempty" doc:"name of the cluster"`
	ControlPlaneEndpoint   *string        `yaml:"controlPlaneEndpoint,omitempty" doc:"HOST or HOST:PORT by which the API is reached"`
	VirtualIP              *string        `yaml:"virtualIP,omitempty" doc:"ADDRESS or ADDRESS/PREFIX of the API that control planes give to each other"`
	APIServerCertExtraSANs []string       `yaml:"apiServerCertExtraSANs,omitempty" doc:"further names and addresses of the API"`
	PodCIDR                *string        `yaml:"podCIDR,omitempty" doc:"addresses of pods"`
	ServiceCIDR            *string        `yaml:"serviceCIDR,omitempty" doc:"addresses of services"`
	DNSDomain              *string        `yaml:"dnsDomain,omitempty" doc:"domain of services"`
	CNI                    *string        `yaml:"cni,omitempty" doc:"network of pods: calico, or none to install one yourself" enum:"calico,none"`
	KeyAlgorithm           *string        `yaml:"keyAlgorithm,omitempty" doc:"of all keys and certificates: ecdsa (P-256) or rsa (2048 bits)" enum:"ecdsa,rsa"`
	Workloads              *bool          `yaml:"workloads,omitempty" doc:"let workloads run on this control plane"`
	UploadCerts            *bool          `yaml:"uploadCerts,omitempty" doc:"let other control planes join for two hours"`
	TokenTTL               *time.Duration `yaml:"tokenTTL,omitempty" doc:"how long other servers may join with the token, with its unit, as in 2h; 0s is forever"`
	Components             `yaml:",inline"`
	Etcd                   *Etcd `yaml:"etcd,omitempty" doc:"an etcd that the cluster does not run itself"`
}

// Etcd says where etcd is, as kubeadm's does. It has no flag.
type Etcd struct {
	External *ExternalEtcd `yaml:"external,omitempty" doc:"where it is, and how it is reached"`
}

// ExternalEtcd is one that the cluster does not run itself.
type ExternalEtcd struct {
	Endpoints []string `yaml:"endpoints,omitempty" doc:"URLs of all members, each https with host and port"`
	CAFile    string   `yaml:"caFile,omitempty" doc:"PEM file of the authority that has signed the members' certificates"`
	CertFile  string   `yaml:"certFile,omitempty" doc:"PEM file of a client's certificate that etcd trusts"`
	KeyFile   string   `yaml:"keyFile,omitempty" doc:"PEM file of its key"`
}

// JoinConfiguration is what `slipway join` can be told. It may hold secrets.
type JoinConfiguration struct {
	Header `yaml:",inline"`
	Host   `yaml:",inline"`

	Endpoint                               *string  `yaml:"endpoint,omitempty" doc:"HOST:PORT of the API; not with a discovery file"`
	Token                                  *string  `yaml:"token,omitempty" doc:"bootstrap token; a secret"`
	DiscoveryTokenCACertHashes             []string `yaml:"discoveryTokenCACertHashes,omitempty" doc:"hashes of the cluster's authority, as in sha256: and 64 hexadecimal digits"`
	DiscoveryTokenUnsafeSkipCAVerification *bool    `yaml:"discoveryTokenUnsafeSkipCAVerification,omitempty" doc:"trust any cluster that knows the token"`
	DiscoveryFile                          *string  `yaml:"discoveryFile,omitempty" doc:"kubeconfig that says where the cluster is and how to trust it, instead of endpoint and hashes"`
	ControlPlane                           *bool    `yaml:"controlPlane,omitempty" doc:"join as a control plane; needs certificateKey"`
	CertificateKey                         *string  `yaml:"certificateKey,omitempty" doc:"key of the uploaded certificates of control planes; a secret"`
}
