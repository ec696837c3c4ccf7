package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// idleTime is how long a connection may be silent in the middle of a blob.
	idleTime = 30 * time.Second
	// tries is how often in a row a connection may break without a byte having come.
	tries = 3
)

// errIdle ends a request that nothing comes of any more.
var errIdle = errors.New("the connection is silent")

// errDigest is that all bytes are there and are not those that were asked for.
var errDigest = errors.New("its content does not match its digest")

// partial is where a blob grows. It has its name only once it is whole.
func partial(dir string, d v1.Descriptor) string { return blobPath(dir, d) + ".partial" }

// fetch makes the blob in dir, and goes on with what an earlier run has of it. arrived is told of bytes as they come, and
// with a negative number of those that were no good.
func (r *Remote) fetch(ctx context.Context, dir string, d v1.Descriptor, arrived func(int64)) error {
	if err := d.Digest.Validate(); err != nil {
		return damaged(fmt.Sprintf("fetch a blob of %q", r.repo.ref), err)
	}
	_, none := os.Stat(partial(dir, d))
	err := r.fetchOnce(ctx, dir, d, arrived)
	if errors.Is(err, errDigest) && none == nil { // what was there before may have been bad, as after a power cut
		err = r.fetchOnce(ctx, dir, d, arrived)
	}
	if errors.Is(err, errDigest) {
		return damaged(fmt.Sprintf("fetch blob %s of %q", d.Digest, r.repo.ref), err)
	}
	return err
}

func (r *Remote) fetchOnce(ctx context.Context, dir string, d v1.Descriptor, arrived func(int64)) error {
	path := partial(dir, d)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	b := &growing{file: f, hash: sha256.New(), size: d.Size, arrived: arrived}
	if err := b.rehash(); err != nil {
		return err
	}
	if err := r.fetchAll(ctx, d, b); err != nil {
		return err
	}
	if digest.NewDigest(digest.SHA256, b.hash) != d.Digest {
		return errors.Join(errDigest, b.restart(), os.Remove(path))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(path, blobPath(dir, d))
}

// fetchAll goes on after connections that broke, as long as they bring something.
func (r *Remote) fetchAll(ctx context.Context, d v1.Descriptor, b *growing) error {
	for idle := 0; b.at < d.Size; {
		before := b.at
		err := r.fetchRest(ctx, d, b)
		if err == nil {
			continue
		}
		if idle++; b.at > before {
			idle = 0
		}
		if b.failed || idle == tries || !mayPass(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Duration(idle) * time.Second):
		}
	}
	return nil
}

// mayPass is false for an answer that will be the same the next time.
func mayPass(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.Temporary()
	}
	return !errors.Is(err, context.Canceled) && !errors.Is(err, errPlain) && !isCertificate(err)
}

// fetchRest asks for what is missing of a blob. A registry that cannot give a part gives all of it.
func (r *Remote) fetchRest(ctx context.Context, d v1.Descriptor, b *growing) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{}
	if b.at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", b.at))
	}
	resp, err := r.get(ctx, "blobs/"+d.Digest.String(), header, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := b.restart(); err != nil {
			return err
		}
	}
	watchdog := time.AfterFunc(r.idle, func() { cancel(errIdle) })
	defer watchdog.Stop()
	// One byte more than is missing shows that there is too much.
	_, err = io.Copy(b, io.LimitReader(&watched{resp.Body, watchdog, r.idle}, d.Size-b.at+1))
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errIdle):
		return errIdle
	case err == nil && b.at < d.Size:
		return io.ErrUnexpectedEOF
	}
	return err
}

// watched is a reader that keeps a timer from going off as long as something comes.
type watched struct {
	io.Reader
	timer *time.Timer
	idle  time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.timer.Reset(w.idle)
	return n, err
}

// growing is the file of a blob, with the hash of what is in it.
type growing struct {
	file     *os.File
	hash     hash.Hash
	at, size int64
	arrived  func(int64)
	failed   bool // to be written, not to be fetched
}

// rehash reads what an earlier run left. More than there can be is of no use.
func (b *growing) rehash() error {
	n, err := io.Copy(b.hash, b.file)
	b.at = n
	b.arrived(n)
	if err == nil && n > b.size {
		err = b.restart()
	}
	return err
}

func (b *growing) restart() error {
	b.arrived(-b.at)
	b.at = 0
	b.hash.Reset()
	_, err := b.file.Seek(0, io.SeekStart)
	return errors.Join(err, b.file.Truncate(0))
}

func (b *growing) Write(p []byte) (int, error) {
	n, err := b.file.Write(p)
	b.at += int64(n)
	b.arrived(int64(n))
	_, _ = b.hash.Write(p[:n]) // a hash never fails
	b.failed = err != nil
	return n, err
}
