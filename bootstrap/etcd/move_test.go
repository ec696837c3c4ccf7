package etcd_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"slipway.dev/slipway/bootstrap/etcd"
)

func TestMove(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "member/snap/db")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	member := `{"id":17,"peerURLs":["https://10.89.0.2:2380"],"name":"one","clientURLs":["https://10.89.0.2:2379"],"isLearner":true,"new":1}`
	inDB(t, file, func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("members"))
		if err == nil {
			err = b.Put([]byte("11"), []byte(member))
		}
		return err
	})
	err := etcd.Move(dir, func(u string) (string, error) { return strings.Replace(u, "10.89.0.", "10.89.1.", 1), nil })
	if err != nil {
		t.Fatal(err)
	}
	inDB(t, file, func(tx *bolt.Tx) error {
		got, want := map[string]any{}, map[string]any{}
		if err := json.Unmarshal(tx.Bucket([]byte("members")).Get([]byte("11")), &got); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(strings.ReplaceAll(member, "10.89.0.", "10.89.1.")), &want); err != nil {
			return err
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			t.Errorf("got %s, want %s", a, b)
		}
		return nil
	})
	if err := etcd.Move(t.TempDir(), nil); err == nil {
		t.Error("moved what is not there")
	}
}

func inDB(t *testing.T, file string, do func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(do); err != nil {
		t.Fatal(err)
	}
}
