package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// metadataLimit is far above any index, manifest or configuration, and keeps a forged size from filling the memory.
const metadataLimit = 16 << 20

func readIndex(dir string) (v1.Index, string, error) {
	var index v1.Index
	data, err := os.ReadFile(filepath.Join(dir, v1.ImageIndexFile))
	if err != nil {
		return index, "", err
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return index, "", fmt.Errorf("read %s: %w", v1.ImageIndexFile, err)
	}
	if got := index.Annotations[AnnotationFormat]; got != Format {
		return index, "", fmt.Errorf("its format is %q, this program reads %q", got, Format)
	}
	if len(index.Manifests) == 0 {
		return index, "", errors.New("its index is empty")
	}
	return index, digest.FromBytes(data).String(), nil
}

func (b *Bundle) readPart(d v1.Descriptor) (part, error) {
	p := part{descriptor: d, Component: Component{
		Name: d.Annotations[AnnotationComponent], Kind: d.Annotations[AnnotationKind],
		Version: d.Annotations[AnnotationVersion], Ref: d.Annotations[v1.AnnotationRefName], Digest: d.Digest.String(),
	}}
	data, err := b.readBlob(d)
	if err != nil {
		return p, b.damaged(p, d, err)
	}
	if err := json.Unmarshal(data, &p.manifest); err != nil {
		return p, b.damaged(p, d, err)
	}
	for _, blob := range p.blobs() {
		if err := blob.Digest.Validate(); err != nil {
			return p, b.damaged(p, d, err)
		}
		p.Size += blob.Size
	}
	if !filepath.IsLocal(p.Name) || filepath.Base(p.Name) != p.Name {
		return p, b.damaged(p, d, fmt.Errorf("%q is no name for a component", p.Name))
	}
	return p, nil
}

// blobs gives the descriptors of all that a component consists of.
func (p part) blobs() []v1.Descriptor {
	return append([]v1.Descriptor{p.descriptor, p.manifest.Config}, p.manifest.Layers...)
}

// damaged names the component and the blob that is wrong.
func (b *Bundle) damaged(p part, d v1.Descriptor, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("it is missing")
	}
	return corrupt(b.dir, fmt.Sprintf("read blob %s of component %q in bundle %q", d.Digest, p.Name, b.dir), err)
}

func (b *Bundle) readBlob(d v1.Descriptor) ([]byte, error) {
	if d.Size > metadataLimit {
		return nil, fmt.Errorf("%d bytes are too many", d.Size)
	}
	r, err := b.open(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, d.Size))
	return data, errors.Join(err, r.finish())
}

// checked reads a blob and hashes what goes by. Until finish has returned nil, what was read is not to be trusted.
type checked struct {
	*os.File
	verifier digest.Verifier
	at, size int64
}

func (b *Bundle) open(d v1.Descriptor) (*checked, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, err
	}
	f, err := os.Open(b.blob(d))
	if err != nil {
		return nil, err
	}
	return &checked{File: f, verifier: d.Digest.Verifier(), size: d.Size}, nil
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	c.at += int64(n)
	_, _ = c.verifier.Write(p[:n]) // a hash never fails
	return n, err
}

// WriteTo hides that of the file, which would go round Read.
func (c *checked) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

// finish reads what is left and says whether the whole blob is what it should be.
func (c *checked) finish() error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	switch {
	case c.at != c.size:
		return fmt.Errorf("it has %d bytes, not %d", c.at, c.size)
	case !c.verifier.Verified():
		return errors.New("its content does not match its digest")
	}
	return nil
}
