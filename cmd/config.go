package cmd

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap/config"
	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/bootstrap/server"
)

// unlessGiven sets a flag's variable to the field of a file, if that has it. What was given on the command line stays.
func unlessGiven[T any](c *cobra.Command, flag string, variable, field *T) {
	if field != nil && !c.Flags().Changed(flag) {
		*variable = *field
	}
}

func (f *hostFlags) merge(c *cobra.Command, h *server.Host, file config.Host) {
	unlessGiven(c, "node-name", &h.NodeName, file.NodeName)
	unlessGiven(c, "advertise-address", &f.address, file.AdvertiseAddress)
	unlessGiven(c, "kubernetes-version", &f.bundle.version, file.KubernetesVersion)
	unlessGiven(c, "bundle", &f.bundle.bundle, file.Bundle)
	unlessGiven(c, "registry-ca", &f.bundle.registry.CA, file.RegistryCA)
	unlessGiven(c, "registry-plain-http", &f.bundle.registry.PlainHTTP, file.RegistryPlainHTTP)
	unlessGiven(c, "virtual-ip-interface", &h.VirtualIPInterface, file.VirtualIPInterface)
	unlessGiven(c, "skip", &h.Skip, &file.Skip)
	unlessGiven(c, "ignore-preflight", &h.Ignore, &file.IgnorePreflight)
}

// initFlags are those of init that are not options of package server as they are.
type initFlags struct {
	hostFlags
	pods, services, virtualIP string
}

// readFile takes from the file what the command line leaves open.
func (f *initFlags) readFile(c *cobra.Command, i *server.InitOptions) error {
	if f.config == "" {
		return nil
	}
	file, origin, err := config.ReadInit(f.config)
	if err != nil {
		return err
	}
	origin.Given = c.Flags().Changed
	i.Origin, i.Settings = origin, file.Settings()
	f.merge(c, &i.Host, file.Host)
	unlessGiven(c, "cluster-name", &i.ClusterName, file.ClusterName)
	unlessGiven(c, "control-plane-endpoint", &i.Endpoint, file.ControlPlaneEndpoint)
	unlessGiven(c, "virtual-ip", &f.virtualIP, file.VirtualIP)
	unlessGiven(c, "apiserver-cert-extra-sans", &i.ExtraSANs, &file.APIServerCertExtraSANs)
	unlessGiven(c, "pod-cidr", &f.pods, file.PodCIDR)
	unlessGiven(c, "service-cidr", &f.services, file.ServiceCIDR)
	unlessGiven(c, "dns-domain", &i.DNSDomain, file.DNSDomain)
	unlessGiven(c, "cni", &i.CNI, file.CNI)
	unlessGiven(c, "key-algorithm", (*string)(&i.Keys), file.KeyAlgorithm)
	unlessGiven(c, "workloads", &i.Workloads, file.Workloads)
	unlessGiven(c, "upload-certs", &i.UploadCerts, file.UploadCerts)
	unlessGiven(c, "token-ttl", &i.TokenTTL, file.TokenTTL)
	if file.Etcd != nil && file.Etcd.External != nil {
		i.ExternalEtcd = (*server.ExternalEtcd)(file.Etcd.External)
	}
	return nil
}

// readJoin takes from the arguments, and then from the file, what the flags leave open.
func (f *hostFlags) readJoin(c *cobra.Command, j *server.JoinOptions, args []string) error {
	if f.config != "" {
		file, err := config.ReadJoin(f.config)
		if err != nil {
			return err
		}
		f.merge(c, &j.Host, file.Host)
		unlessGiven(c, "", &j.Endpoint, file.Endpoint)
		unlessGiven(c, "token", &j.Token, file.Token)
		unlessGiven(c, "discovery-token-ca-cert-hash", &j.CAHashes, &file.DiscoveryTokenCACertHashes)
		unlessGiven(c, "discovery-token-unsafe-skip-ca-verification", &j.UnsafeSkipCA, file.DiscoveryTokenUnsafeSkipCAVerification)
		unlessGiven(c, "discovery-file", &j.DiscoveryFile, file.DiscoveryFile)
		unlessGiven(c, "control-plane", &j.ControlPlane, file.ControlPlane)
		unlessGiven(c, "certificate-key", &j.CertificateKey, file.CertificateKey)
	}
	if len(args) > 0 {
		j.Endpoint = args[0]
	}
	return nil
}

// The files that the help shows.
const (
	initExample = `apiVersion: slipway.dev/v1alpha1
kind: InitConfiguration
bundle: /media/bundle
controlPlaneEndpoint: api.example.com:6443
podCIDR: 10.244.0.0/16
uploadCerts: true
ignorePreflight: [swap]
`
	joinExample = `apiVersion: slipway.dev/v1alpha1
kind: JoinConfiguration
bundle: /media/bundle
endpoint: 10.0.0.1:6443
token: abcdef.0123456789abcdef
discoveryTokenCACertHashes: ["sha256:HASH"]
`
)

// exampleOf shows a file below the command that reads it.
func exampleOf(name, docs, text string) string {
	lines := strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
	return "\n\n" + name + ", of which " + docs + " has all fields:\n\n  " + lines
}

// checkNames lists the preflight checks, in lines that fit beside the flags.
func checkNames() string {
	var names []string
	for _, c := range preflight.Checks() {
		names = append(names, c.Name())
	}
	const perLine = 9
	var lines []string
	for some := range slices.Chunk(names, perLine) {
		lines = append(lines, strings.Join(some, ", "))
	}
	return strings.Join(lines, ",\n")
}
