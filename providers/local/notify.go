package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

const notifyName = "notify"

// upSocket is where a machine's systemd reports, as to the manager of any container (sd_notify(3)).
type upSocket struct{ conn *net.UnixConn }

// listenForUp binds through a short name of the directory, as the name of a socket must not be
// longer than 107 bytes.
func listenForUp(dir string) (*upSocket, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := os.Remove(filepath.Join(dir, notifyName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	name := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), notifyName)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("listen for systemd's notification: %w", err)
	}
	return &upSocket{conn}, nil
}

func (u *upSocket) Close() { _ = u.conn.Close() }

// deathCheck is how often it is looked whether PID 1 still lives while nothing is heard of it.
const deathCheck = 200 * time.Millisecond

var errEnded = errors.New("it ended during its start")

// wait returns when systemd has started all that it should, or can no longer do so.
func (u *upSocket) wait(ctx context.Context, ended func() bool) error {
	stop := context.AfterFunc(ctx, func() { _ = u.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buffer := make([]byte, 4096)
	for {
		_ = u.conn.SetReadDeadline(time.Now().Add(deathCheck))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := u.conn.Read(buffer)
		switch {
		case err == nil && isReady(buffer[:n]):
			return nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case err != nil && ended():
			return errEnded
		}
	}
}

func isReady(message []byte) bool {
	for line := range bytes.Lines(message) {
		if string(bytes.TrimSpace(line)) == "READY=1" {
			return true
		}
	}
	return false
}
