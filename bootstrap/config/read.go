package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	// Not sigs.k8s.io/yaml: by way of JSON, a version of 1.30 becomes 1.3 and a token of digits another number, there are
	// no line numbers, and only the first unknown field is told.
	"go.yaml.in/yaml/v3"

	"slipway.dev/slipway/bootstrap/settings"
	"slipway.dev/slipway/internal/fault"
)

// maxSize is far above what any such file needs. The parser compares each key with all the others.
const maxSize = 64 << 10

// othersMay are the modes by which others than the owner come in.
const othersMay fs.FileMode = 0o077

// ReadInit reads the file of `slipway init`. The error has a fault config-invalid for each problem.
func ReadInit(path string) (*InitConfiguration, *Origin, error) {
	var c InitConfiguration
	in, err := readFile(path, InitKind, &c)
	if err != nil {
		return nil, nil, err
	}
	return &c, in.origin, nil
}

// ReadLocal reads the file of `slipway up`. The error has a fault config-invalid for each problem; what was without any is in the
// result all the same, unless there is none.
func ReadLocal(path string) (*LocalCluster, *Origin, error) {
	var c LocalCluster
	in, err := readFile(path, LocalKind, &c)
	if in.origin == nil {
		return nil, nil, err
	}
	return &c, in.origin, err
}

// ReadJoin reads the file of `slipway join`. The error has a fault config-invalid for each problem, and config-exposed
// where a secret is in a file that is not its owner's alone.
func ReadJoin(path string) (*JoinConfiguration, error) {
	var c JoinConfiguration
	in, err := readFile(path, JoinKind, &c)
	if mode := in.mode; (c.Token != nil || c.CertificateKey != nil) && mode&othersMay != 0 {
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

// input is the very file that was read.
type input struct {
	mode   fs.FileMode
	origin *Origin // nil where there is no document of the kind
}

// problem is what is wrong in a file; line 0 is for the whole of it.
type problem struct {
	line int
	text string
}

func readFile(path, kind string, into any) (input, error) {
	var in input
	op := fmt.Sprintf("read %q", path)
	unreadable := func(err error) error {
		return fault.New("config-invalid", op, err, "give the path of a file that can be read")
	}
	f, err := os.Open(path)
	if err != nil {
		return in, unreadable(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return in, unreadable(err)
	}
	in.mode = info.Mode().Perm()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return in, unreadable(err)
	}
	root, problems := decode(data, kind, into)
	if root != nil {
		in.origin = &Origin{path: path, root: root}
	}
	var errs []error
	for _, p := range problems {
		at := op
		if p.line > 0 {
			at = fmt.Sprintf("read \"%s:%d\"", path, p.line)
		}
		errs = append(errs, fault.New("config-invalid", at, errors.New(p.text),
			"`slipway config init --kind "+kind+"` writes a file with all fields, `slipway config schema "+kind+"` says what each takes"))
	}
	return in, errors.Join(errs...)
}

// decode gives the root of the document, unless it is of another kind, and all problems. What was without any is in the result
// all the same.
func decode(data []byte, kind string, into any) (*yaml.Node, []problem) {
	if len(data) > maxSize {
		return nil, []problem{{text: fmt.Sprintf("it has more than %d bytes", maxSize)}}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, []problem{problemOf(err.Error(), into)}
	}
	var h Header
	if err := doc.Decode(&h); err == nil { // or else the same error comes again
		if problems := h.check(kind); problems != nil {
			return nil, problems // its fields are those of another kind
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	var out []problem
	var several *yaml.TypeError
	switch err := d.Decode(into); {
	case errors.As(err, &several):
		for _, text := range several.Errors {
			out = append(out, problemOf(text, into))
		}
	case err != nil:
		return nil, []problem{problemOf(err.Error(), into)}
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		out = append(out, problem{text: "there is more than one document in it"})
	}
	return doc.Content[0], out
}

// ofLine and noField are how the library words what it finds.
var (
	ofLine  = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	noField = regexp.MustCompile(`^field (.*) not found in type config\.(\w+)$`)
	unfit   = regexp.MustCompile("^cannot unmarshal !!\\w+ (`.*` )?into (.*)$")
)

func problemOf(text string, into any) problem {
	p := problem{text: text}
	if m := ofLine.FindStringSubmatch(text); m != nil {
		p.text = m[2]
		p.line, _ = strconv.Atoi(m[1]) // digits
	}
	if m := noField.FindStringSubmatch(p.text); m != nil {
		names := fieldNames(reflect.TypeOf(into), m[2])
		p.text = fmt.Sprintf("there is no field %q%s", m[1], settings.Meant(m[1], slices.Values(names)))
	}
	if m := unfit.FindStringSubmatch(p.text); m != nil {
		p.text = "it must be " + wordFor(m[2])
		if m[1] != "" { // the library shows its beginning only, if it is long
			p.text += ", not " + strings.TrimSpace(m[1])
		}
	}
	return p
}

// wordFor says what values of a type look like in a file.
func wordFor(goType string) string {
	switch {
	case goType == "bool":
		return "true or false"
	case goType == "int":
		return "a whole number"
	case goType == "string":
		return "a text"
	case goType == "time.Duration":
		return "a time with its unit, as in 90s"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	default:
		return "a mapping of names to values"
	}
}

func (h Header) check(kind string) (out []problem) {
	if h.APIVersion != APIVersion {
		out = append(out, problem{text: fmt.Sprintf("apiVersion is %q, it must be %q", h.APIVersion, APIVersion)})
	}
	if h.Kind != kind {
		out = append(out, problem{text: fmt.Sprintf("kind is %q, it must be %q", h.Kind, kind)})
	}
	return out
}
