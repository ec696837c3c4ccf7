package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	// Not sigs.k8s.io/yaml: by way of JSON, a version of 1.30 becomes 1.3 and a token of digits another number, there are
	// no line numbers, and only the first unknown field is told.
	"go.yaml.in/yaml/v3"

	"slipway.dev/slipway/internal/fault"
)

// maxSize is far above what any such file needs. The parser compares each key with all the others.
const maxSize = 64 << 10

// othersMay are the modes by which others than the owner come in.
const othersMay fs.FileMode = 0o077

// ReadInit reads the file of `slipway init`. The error has a fault config-invalid for each problem.
func ReadInit(path string) (*InitConfiguration, error) {
	var c InitConfiguration
	if _, err := readFile(path, InitKind, &c); err != nil {
		return nil, err
	}
	return &c, nil
}

// ReadJoin reads the file of `slipway join`. The error has a fault config-invalid for each problem, and config-exposed
// where a secret is in a file that is not its owner's alone.
func ReadJoin(path string) (*JoinConfiguration, error) {
	var c JoinConfiguration
	mode, err := readFile(path, JoinKind, &c)
	if (c.Token != nil || c.CertificateKey != nil) && mode&othersMay != 0 {
		err = errors.Join(err, fault.New("config-exposed", fmt.Sprintf("use the secrets in %q", path),
			fmt.Errorf("others than its owner can read or change it, with mode %04o", mode),
			fmt.Sprintf("run `chmod 600 %s`; if others have been on this host, take new secrets: `slipway token create` on a control plane", path)))
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// KindOf gives the kind that a file says it is of, without a look at the rest: whoever reads it says what is wrong.
func KindOf(path string) string {
	data, err := os.ReadFile(path)
	var h Header
	if err != nil || yaml.Unmarshal(data, &h) != nil {
		return ""
	}
	return h.Kind
}

// readFile gives the mode of the very file that it has read.
func readFile(path, kind string, into any) (fs.FileMode, error) {
	op := fmt.Sprintf("read %q", path)
	unreadable := func(err error) error {
		return fault.New("config-invalid", op, err, "give the path of a file that can be read")
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, unreadable(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, unreadable(err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return 0, unreadable(err)
	}
	var errs []error
	for _, problem := range decode(data, kind, into) {
		errs = append(errs, fault.New("config-invalid", op, problem,
			"docs/servers-config.md has all fields; `slipway init --help` and `slipway join --help` have an example"))
	}
	return info.Mode().Perm(), errors.Join(errs...)
}

// decode gives all problems. What was without any is in the result all the same.
func decode(data []byte, kind string, into any) []error {
	if len(data) > maxSize {
		return []error{fmt.Errorf("it has more than %d bytes", maxSize)}
	}
	var h Header
	if err := yaml.Unmarshal(data, &h); err == nil { // or else the same error comes again
		if errs := h.check(kind); errs != nil {
			return errs // its fields are those of another kind
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	var errs []error
	var several *yaml.TypeError
	switch err := d.Decode(into); {
	case errors.As(err, &several):
		for _, text := range several.Errors {
			errs = append(errs, errors.New(text))
		}
	case err != nil:
		return []error{err}
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		errs = append(errs, errors.New("there is more than one document in it"))
	}
	return errs
}

func (h Header) check(kind string) []error {
	var errs []error
	if h.APIVersion != APIVersion {
		errs = append(errs, fmt.Errorf("apiVersion is %q, it must be %q", h.APIVersion, APIVersion))
	}
	if h.Kind != kind {
		errs = append(errs, fmt.Errorf("kind is %q, it must be %q", h.Kind, kind))
	}
	return errs
}
