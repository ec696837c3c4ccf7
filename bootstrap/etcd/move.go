package etcd

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// membersBucket has the members as JSON, each by its ID. etcd believes it more than its flags, once it has data.
const membersBucket = "members"

// openTime is enough for whoever has the file open to have gone. There is nobody, or it would be changed under his feet.
const openTime = time.Second

// Move gives all members that a data directory knows other URLs, as when all hosts of a cluster have got other addresses at the same
// time: without a majority that finds each other, nobody could tell them. The IDs stay. etcd must not run there.
func Move(dataDir string, to func(url string) (string, error)) error {
	path := filepath.Join(dataDir, "member", "snap", "db")
	// As etcd has it: the list of free pages is not in the file.
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: openTime, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return fmt.Errorf("open etcd's data %q: %w", path, err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error {
		members := tx.Bucket([]byte(membersBucket))
		if members == nil {
			return fmt.Errorf("there is no bucket %q", membersBucket)
		}
		moved := map[string][]byte{}
		err := members.ForEach(func(id, member []byte) (err error) {
			moved[string(id)], err = moveMember(member, to)
			return err
		})
		for id, member := range moved {
			if err == nil {
				err = members.Put([]byte(id), member)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("change the members in %q: %w", path, err)
	}
	return db.Close()
}

// moveMember keeps whatever else is said of a member.
func moveMember(data []byte, to func(string) (string, error)) ([]byte, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	for _, key := range []string{"peerURLs", "clientURLs"} {
		if m[key] == nil {
			continue
		}
		var urls []string
		if err := json.Unmarshal(m[key], &urls); err != nil {
			return nil, err
		}
		for i, u := range urls {
			moved, err := to(u)
			if err != nil {
				return nil, err
			}
			urls[i] = moved
		}
		var err error
		if m[key], err = json.Marshal(urls); err != nil {
			return nil, err
		}
	}
	return json.Marshal(m)
}
