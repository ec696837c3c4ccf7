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
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
}

// A field that is nil was not in the file. Each is named after the flag that it stands for, where there is one.

// Host is what both kinds say of the host that becomes a node.
type Host struct {
	NodeName           *string  `yaml:"nodeName,omitempty"`
	AdvertiseAddress   *string  `yaml:"advertiseAddress,omitempty"`
	KubernetesVersion  *string  `yaml:"kubernetesVersion,omitempty"`
	Bundle             *string  `yaml:"bundle,omitempty"`
	RegistryCA         *string  `yaml:"registryCA,omitempty"`
	RegistryPlainHTTP  *bool    `yaml:"registryPlainHTTP,omitempty"`
	VirtualIPInterface *string  `yaml:"virtualIPInterface,omitempty"`
	Skip               []string `yaml:"skip,omitempty"`
	IgnorePreflight    []string `yaml:"ignorePreflight,omitempty"`
}

// InitConfiguration is what `slipway init` can be told.
type InitConfiguration struct {
	Header `yaml:",inline"`
	Host   `yaml:",inline"`

	ClusterName            *string        `yaml:"clusterName,omitempty"`
	ControlPlaneEndpoint   *string        `yaml:"controlPlaneEndpoint,omitempty"`
	VirtualIP              *string        `yaml:"virtualIP,omitempty"`
	APIServerCertExtraSANs []string       `yaml:"apiServerCertExtraSANs,omitempty"`
	PodCIDR                *string        `yaml:"podCIDR,omitempty"`
	ServiceCIDR            *string        `yaml:"serviceCIDR,omitempty"`
	DNSDomain              *string        `yaml:"dnsDomain,omitempty"`
	CNI                    *string        `yaml:"cni,omitempty"`
	KeyAlgorithm           *string        `yaml:"keyAlgorithm,omitempty"`
	Workloads              *bool          `yaml:"workloads,omitempty"`
	UploadCerts            *bool          `yaml:"uploadCerts,omitempty"`
	TokenTTL               *time.Duration `yaml:"tokenTTL,omitempty"`
	Components             `yaml:",inline"`
	Etcd                   *Etcd `yaml:"etcd,omitempty"`
}

// Etcd says where etcd is, as kubeadm's does. It has no flag.
type Etcd struct {
	External *ExternalEtcd `yaml:"external,omitempty"`
}

// ExternalEtcd is one that the cluster does not run itself.
type ExternalEtcd struct {
	Endpoints []string `yaml:"endpoints,omitempty"`
	CAFile    string   `yaml:"caFile,omitempty"`
	CertFile  string   `yaml:"certFile,omitempty"`
	KeyFile   string   `yaml:"keyFile,omitempty"`
}

// JoinConfiguration is what `slipway join` can be told. It may hold secrets.
type JoinConfiguration struct {
	Header `yaml:",inline"`
	Host   `yaml:",inline"`

	Endpoint                               *string  `yaml:"endpoint,omitempty"`
	Token                                  *string  `yaml:"token,omitempty"`
	DiscoveryTokenCACertHashes             []string `yaml:"discoveryTokenCACertHashes,omitempty"`
	DiscoveryTokenUnsafeSkipCAVerification *bool    `yaml:"discoveryTokenUnsafeSkipCAVerification,omitempty"`
	DiscoveryFile                          *string  `yaml:"discoveryFile,omitempty"`
	ControlPlane                           *bool    `yaml:"controlPlane,omitempty"`
	CertificateKey                         *string  `yaml:"certificateKey,omitempty"`
}
