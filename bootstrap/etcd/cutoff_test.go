package etcd_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/bootstrap/etcd"
	"slipway.dev/slipway/internal/flock"
	"slipway.dev/slipway/internal/testenv"
)

// single is a cluster of one member.
type single struct {
	program, data string
	urls          []string // for clients, for members
}

// start gives what kills it, and what tells that it has ended by itself.
func (s single) start(t *testing.T) (kill func(), ended <-chan error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.program, "--name=m", "--data-dir="+s.data, "--initial-cluster=m="+s.urls[1],
		"--listen-client-urls="+s.urls[0], "--advertise-client-urls="+s.urls[0], "--listen-peer-urls="+s.urls[1],
		"--initial-advertise-peer-urls="+s.urls[1], "--log-level=error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	over := make(chan struct{})
	go func() {
		done <- cmd.Wait()
		close(over)
	}()
	kill = func() {
		_ = cmd.Process.Kill()
		<-over
	}
	t.Cleanup(kill)
	return kill, done
}

func (s single) wantEnd(t *testing.T, what string) {
	t.Helper()
	kill, ended := s.start(t)
	defer kill()
	select {
	case err := <-ended:
		if err == nil {
			t.Errorf("%s: it ended well", what)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s: it runs", what)
	}
}

// try ends it when it is at the point, where it may go on running.
func (s single) try(t *testing.T) {
	t.Helper()
	kill, ended := s.start(t)
	defer kill()
	for begin := time.Now(); time.Since(begin) < time.Minute; {
		select {
		case <-ended:
			return
		case <-time.After(10 * time.Millisecond):
		}
		held, err := flock.Try(filepath.Join(s.data, "member/snap/db"), flock.Exclusive)
		if err == nil {
			held.Unlock()
		}
		if cut, _ := etcd.CutOff(s.data); cut && errors.Is(err, flock.ErrHeld) {
			return
		}
	}
	t.Fatal("it does not come to the point")
}

func (s single) client(t *testing.T) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: s.urls[:1], Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (s single) wantCut(t *testing.T, want bool) {
	t.Helper()
	if got, err := etcd.CutOff(s.data); err != nil || got != want {
		t.Fatalf("cut off: %v, %v; want %v; %s", got, err, want, listing(s.data))
	}
}

// startOver wants it to have something to do, or not. Afterwards there is nothing any more.
func (s single) startOver(t *testing.T, want bool) {
	t.Helper()
	if over, err := etcd.StartOver(s.data); err != nil || over != want {
		t.Fatalf("started over: %v, %v; want %v", over, err, want)
	}
	s.wantCut(t, false)
}

func listing(dir string) []byte {
	out, _ := exec.Command("find", dir, "-printf", "\n%y %s %P").Output()
	return out
}

// disk is a directory on a disk of so many bytes.
func disk(t *testing.T, size int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.Mkdir(dir, 0o700), unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))); err != nil {
		testenv.Lacks(t, "mount a file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func makeRoom(t *testing.T, disk string) {
	t.Helper()
	if err := unix.Mount("none", disk, "tmpfs", unix.MS_REMOUNT, "size=300M"); err != nil {
		t.Fatal(err)
	}
}

const logSize = 64000000

// TestCutOff fills the disk at the points of a first start that etcd does not get over: with room again, it starts over.
func TestCutOff(t *testing.T) {
	page := os.Getpagesize()
	programs := t.TempDir()
	if err := testenv.NeedBundle(t).Extract("etcd", programs); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		room int
		runs bool
	}{
		{"in the first page of the database", page, false},
		{"in the third page of the database", 3 * page, false},
		{"before the first entry of the log", 4*page + logSize, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := disk(t, c.room)
			s := single{filepath.Join(programs, "usr/local/bin/etcd"), filepath.Join(dir, "etcd"), ownURLs(14)[12:]}
			for range 3 { // as it is tried again and again
				if c.runs {
					s.try(t)
				} else {
					s.wantEnd(t, "on a full disk")
				}
				s.wantCut(t, true)
			}
			makeRoom(t, dir)
			if c.runs {
				s.wantNoAnswer(t)
			} else {
				s.wantEnd(t, "with room again")
			}
			s.wantCut(t, true)
			s.startOver(t, true)
			s.wantKept(t)
		})
	}
}

// wantNoAnswer has etcd run, during which nothing is touched.
func (s single) wantNoAnswer(t *testing.T) {
	t.Helper()
	kill, ended := s.start(t)
	defer kill()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		held, err := flock.Try(filepath.Join(s.data, "member/snap/db"), flock.Exclusive)
		if errors.Is(err, flock.ErrHeld) {
			break
		}
		if err != nil || time.Since(begin) > time.Minute {
			t.Fatal("etcd does not open its database:", err)
		}
		held.Unlock()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := s.client(t).Put(ctx, "key", "value"); err == nil {
		t.Error("it works: this point is none any more that etcd does not get over")
	}
	select {
	case err := <-ended:
		t.Error("it ended:", err)
	default:
	}
	if over, err := etcd.StartOver(s.data); over || !errors.Is(err, flock.ErrHeld) {
		t.Errorf("under an etcd that runs: %v, %v", over, err)
	}
}

// wantKept: what was acknowledged is never among what is removed, however etcd ended.
func (s single) wantKept(t *testing.T) {
	t.Helper()
	kill, _ := s.start(t)
	put(t, s.client(t), "key", "acknowledged")
	s.wantCut(t, false)
	kill()
	s.startOver(t, false)
	kill, _ = s.start(t)
	defer kill()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := s.client(t).Get(ctx, "key")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "acknowledged" {
		t.Fatalf("got %v, %v", r, err)
	}
}

// TestNotCutOff: a member is only taken for one whose first start was cut off if nothing else can be.
func TestNotCutOff(t *testing.T) {
	const first = "wal/0000000000000000-0000000000000000.wal"
	frame := func(record ...byte) []byte {
		fill := (8 - len(record)%8) % 8
		size := uint64(len(record))
		if fill > 0 {
			size |= uint64(0x80|fill) << 56
		}
		return append(binary.LittleEndian.AppendUint64(nil, size), append(record, make([]byte, fill)...)...)
	}
	// As etcd 3.6 and 3.7 write it.
	half := string(frame(0x08, 4, 0x10, 0)) + string(frame(0x08, 1, 0x10, 7, 0x1a, 2, 0x08, 3))
	begin := half + string(frame(0x08, 5, 0x10, 7, 0x1a, 4, 0x08, 0, 0x10, 0))
	zeros := string(make([]byte, 4096))
	pages := strings.Repeat("x", 4*os.Getpagesize())
	type files map[string]string
	for name, c := range map[string]struct {
		files files
		want  bool
	}{
		"nothing":                {files{}, false},
		"no database":            {files{first: begin + zeros}, false},
		"log of nothing":         {files{"snap/db": pages, first: begin + zeros}, true},
		"and the next one begun": {files{"snap/db": pages, first: begin + zeros, "wal/0.tmp": zeros}, true},
		"a log begun":            {files{"snap/db": pages, first: begin + zeros, "wal.tmp/" + filepath.Base(first): ""}, true},
		"its end is missing":     {files{"snap/db": pages, first: begin}, true},
		"an entry":               {files{"snap/db": pages, first: begin + string(frame(0x08, 2, 0x10, 1, 0x1a, 1, 9)) + zeros}, false},
		"a vote":                 {files{"snap/db": pages, first: begin + string(frame(0x08, 3, 0x10, 1, 0x1a, 1, 9)) + zeros}, false},
		"a snapshot of something": {
			files{"snap/db": pages, first: begin + string(frame(0x08, 5, 0x10, 7, 0x1a, 4, 0x08, 1, 0x10, 1)) + zeros}, false,
		},
		"a snapshot's file":       {files{"snap/db": pages, "snap/1-1.snap": "x", first: begin + zeros}, false},
		"another log":             {files{"snap/db": pages, first: begin + zeros, "wal/0000000000000001-0000000000000009.wal": ""}, false},
		"not the first log":       {files{"snap/db": pages, "wal/0000000000000001-0000000000000009.wal": begin + zeros}, false},
		"something after zeros":   {files{"snap/db": pages, first: begin + zeros + "x"}, false},
		"something unknown":       {files{"snap/db": pages, first: begin + string(frame(0x08, 6, 0x10, 1)) + zeros}, false},
		"no log at all":           {files{"snap/db": pages, first: "hello, this is something else" + zeros}, false},
		"a log of zeros":          {files{"snap/db": pages, first: zeros}, false},
		"an empty log":            {files{"snap/db": pages, first: ""}, false},
		"half a beginning":        {files{"snap/db": pages, first: half + zeros}, false},
		"a torn record":           {files{"snap/db": pages, first: begin + string(frame(0x08, 2)[:8])}, false},
		"pages and no log":        {files{"snap/db": pages}, false},
		"some pages and no log":   {files{"snap/db": pages[:5000]}, true},
		"some pages and snapshot": {files{"snap/db": pages[:5000], "snap/1-1.snap": "x"}, false},
		"some pages and log":      {files{"snap/db": pages[:5000], first: begin + string(frame(0x08, 2, 0x10, 1)) + zeros}, false},
		"nothing in the database": {files{"snap/db": ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := single{data: t.TempDir()}
			for path, text := range c.files {
				path = filepath.Join(s.data, "member", path)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			s.wantCut(t, c.want)
			before := string(listing(s.data))
			s.startOver(t, c.want)
			if after := string(listing(s.data)); (after != before) != c.want {
				t.Errorf("before:%s\nafter:%s", before, after)
			}
		})
	}
}
