package etcd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"slipway.dev/slipway/internal/flock"
)

// firstPages is how many pages bbolt writes when it makes a file. etcd only goes on when they are there.
const firstPages = 4

// firstLog is the file that etcd's log begins with.
const firstLog = "0000000000000000-0000000000000000.wal"

// CutOff tells whether the first start of a member was cut off, by a full disk or a loss of power, at one of the two points that etcd
// does not get over by itself:
//
//   - in the middle of the first pages of its database: it does not start;
//   - between making its log and writing the first entry: it starts, takes itself for a member that was there before, knows
//     no members and waits forever.
//
// A member that has ever voted for a leader or was sent something has an entry or its vote in the log, and is never among them: these
// are written down before anybody is answered.
func CutOff(dataDir string) (bool, error) {
	c, err := cutOff(dataDir)
	return c != whole, err
}

// StartOver removes what keeps a member whose first start was cut off from starting again, and tells whether there was such a thing. The
// error wraps flock.ErrHeld while etcd runs there. It may be killed at any point, and etcd may start at any point: one that waits for the
// database meanwhile starts anew, or ends and does so the next time.
func StartOver(dataDir string) (bool, error) {
	if c, err := cutOff(dataDir); c == whole || err != nil {
		return false, err
	}
	held, err := flock.Try(database(dataDir), flock.Exclusive) // as etcd does
	if err != nil {
		return false, fmt.Errorf("change etcd's data: %w", err)
	}
	defer held.Unlock()
	c, err := cutOff(dataDir) // etcd may have come further until it ended
	if c == whole || err != nil {
		return false, err
	}
	if c == inDatabase {
		err = os.Truncate(database(dataDir), 0)
	} else {
		err = removeLog(filepath.Join(dataDir, "member"))
	}
	if err != nil {
		return false, fmt.Errorf("let etcd start over: %w", err)
	}
	return true, nil
}

// removeLog takes its name away first: what is half removed must not be taken for a log. The name is that of one which etcd
// is making, and removes when it begins another.
func removeLog(member string) error {
	making := filepath.Join(member, "wal.tmp")
	if err := os.RemoveAll(making); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(member, "wal"), making); err != nil {
		return err
	}
	return os.RemoveAll(making)
}

// cut is where a first start was cut off.
type cut int

const (
	whole cut = iota // or nothing is there, or something that etcd copes with
	inDatabase
	beforeEntries
)

func database(dataDir string) string { return filepath.Join(dataDir, "member", "snap", "db") }

func cutOff(dataDir string) (cut, error) {
	c, err := lookFor(dataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // or just gone: etcd may be running
		return whole, nil
	case err != nil:
		return whole, fmt.Errorf("look at etcd's data: %w", err)
	}
	return c, nil
}

func lookFor(dataDir string) (cut, error) {
	snaps, err := os.ReadDir(filepath.Dir(database(dataDir)))
	if err != nil || len(snaps) != 1 { // one with snapshots has done more than to start
		return whole, err
	}
	db, err := os.Stat(database(dataDir))
	if err != nil {
		return whole, err
	}
	logs := filepath.Join(dataDir, "member", "wal")
	switch _, err := os.Lstat(logs); {
	case errors.Is(err, fs.ErrNotExist):
		if size := db.Size(); 0 < size && size < int64(firstPages*os.Getpagesize()) {
			return inDatabase, nil
		}
		return whole, nil
	case err != nil:
		return whole, err
	}
	if none, err := noEntries(logs); err != nil || !none {
		return whole, err
	}
	return beforeEntries, nil
}

// noEntries tells whether a log has nothing but what is written when it is made.
func noEntries(dir string) (bool, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, f := range files {
		if f.Name() != firstLog && !strings.HasSuffix(f.Name(), ".tmp") { // one that is to be the next
			return false, nil
		}
	}
	f, err := os.Open(filepath.Join(dir, firstLog))
	if err != nil {
		return false, err
	}
	defer f.Close()
	return onlyMade(bufio.NewReaderSize(f, 1<<20))
}

// onlyMade tells whether there is all that is written when a log is made, and nothing else. One with less has lost what it had: etcd
// writes all of that before it gives a log its name.
func onlyMade(r *bufio.Reader) (bool, error) {
	var last uint64
	for {
		record, err := readRecord(r)
		if err != nil {
			return false, nil //nolint:nilerr // whatever that is, it is not what etcd writes at first
		}
		if record == nil {
			break
		}
		if last = written(record); last == 0 {
			return false, nil
		}
	}
	if last != snapshotRecord {
		return false, nil
	}
	return onlyZeros(r)
}

// longestRecord is more than one has that is written when a log is made.
const longestRecord = 1 << 10

// readRecord gives the next record of a log, or nothing where the space begins that was taken in advance:
// https://github.com/etcd-io/etcd/blob/v3.7.0/server/storage/wal/encoder.go
func readRecord(r io.Reader) ([]byte, error) {
	var frame uint64 // the length, and if the first bit is set, in three more how many bytes fill the record up to words
	switch err := binary.Read(r, binary.LittleEndian, &frame); {
	case errors.Is(err, io.EOF), err == nil && frame == 0:
		return nil, nil
	case err != nil:
		return nil, err
	}
	size, fill := frame&(1<<56-1), uint64(0)
	if frame>>63 == 1 {
		fill = frame >> 56 & 7
	}
	if size == 0 || size > longestRecord {
		return nil, fmt.Errorf("a record of %d bytes", size)
	}
	data := make([]byte, size+fill)
	_, err := io.ReadFull(r, data)
	return data[:size], err
}

// The kinds of records that are written when a log is made, and others are not:
// https://github.com/etcd-io/etcd/blob/v3.7.0/server/storage/wal/wal.go
const (
	metadataRecord = 1
	checksumRecord = 4
	snapshotRecord = 5
)

// written gives the kind of a record that is one of those that are written when a log is made, and 0 of others. The last of them is a
// snapshot of nothing.
func written(record []byte) uint64 {
	kind, _, ok := field(record, 1)
	if !ok {
		return 0
	}
	switch kind {
	case metadataRecord, checksumRecord:
		return kind
	case snapshotRecord:
		_, snapshot, ok := field(record, 3)
		if index, _, known := field(snapshot, 1); ok && known && index == 0 {
			return kind
		}
	}
	return 0
}

// field gives a field of a message, which is a number or a message. A number that is not there is 0.
func field(message []byte, want protowire.Number) (number uint64, inner []byte, ok bool) {
	for len(message) > 0 {
		name, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return 0, nil, false
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(name, kind, message); n < 0 {
			return 0, nil, false
		}
		if name == want {
			number, _ = protowire.ConsumeVarint(message[:n])
			inner, _ = protowire.ConsumeBytes(message[:n])
			return number, inner, true
		}
		message = message[n:]
	}
	return 0, nil, true
}

func onlyZeros(r *bufio.Reader) (bool, error) {
	for {
		b, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil || b != 0 {
			return false, err
		}
	}
}
