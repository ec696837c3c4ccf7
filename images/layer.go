package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

type visitor func(*tar.Header, io.Reader) error

// walk shows every entry of a component's layers to visit. What visit got is to be trusted once walk returns nil.
func (b *Bundle) walk(ctx context.Context, p part, visit visitor) error {
	for _, d := range p.manifest.Layers {
		if !strings.HasSuffix(d.MediaType, "tar+zstd") {
			return b.damaged(p, d, fmt.Errorf("its media type is %q", d.MediaType))
		}
		r, err := b.open(d)
		if err != nil {
			return b.damaged(p, d, err)
		}
		err = errors.Join(ctx.Err(), walkLayer(ctx, r, visit))
		bad := r.finish()
		r.Close()
		switch {
		case bad != nil: // then whatever else went wrong followed from it
			return b.damaged(p, d, bad)
		case err != nil:
			return b.unusable(p, d, err)
		}
	}
	return nil
}

// unusable keeps the errors of this computer apart from those of the bundle.
func (b *Bundle) unusable(p part, d v1.Descriptor, err error) error {
	var malformed *entryError
	if errors.As(err, &malformed) || errors.Is(err, tar.ErrHeader) {
		return b.damaged(p, d, err)
	}
	return err
}

func walkLayer(ctx context.Context, r io.Reader, visit visitor) error {
	z, err := zstd.NewReader(cancelled{ctx, r})
	if err != nil {
		return err
	}
	defer z.Close()
	in := tar.NewReader(z)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(h, in); err != nil {
			return err
		}
	}
}

// Manifests gives the files of a component of kind manifests by their paths.
func (b *Bundle) Manifests(ctx context.Context, component string) (map[string][]byte, error) {
	p, err := b.partOf(component, KindManifests)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	err = b.walk(ctx, p, func(h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		data, err := io.ReadAll(io.LimitReader(r, metadataLimit))
		out[strings.TrimPrefix(h.Name, "./")] = data
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the manifests of %q: %w", component, err)
	}
	return out, nil
}
