package images

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

const stampDir = "usr/local/share/slipway"

// stamp is what Extract leaves behind, so that the next run can tell without hashing that nothing is to be done.
type stamp struct {
	Digest string        `json:"digest"`
	Files  []stampedFile `json:"files"`
}

type stampedFile struct {
	Path string      `json:"path"`
	Size int64       `json:"size"`
	Mode fs.FileMode `json:"mode"`
}

func stampPath(dest, component string) string {
	return filepath.Join(dest, stampDir, component+".json")
}

func writeStamp(p part, dest string, files []string) error {
	s := stamp{Digest: p.Digest}
	for _, name := range files {
		f, err := look(dest, name)
		if err != nil {
			return err
		}
		s.Files = append(s.Files, f)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := stampPath(dest, p.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func look(dest, name string) (stampedFile, error) {
	info, err := os.Lstat(filepath.Join(dest, name))
	if err != nil {
		return stampedFile{}, err
	}
	return stampedFile{Path: name, Size: info.Size(), Mode: info.Mode()}, nil
}

// Installed says whether dest has this very component, by the stamp of Extract and the sizes and modes of the files.
func (b *Bundle) Installed(component, dest string) (bool, error) {
	p, err := b.hostPart(component)
	if err != nil {
		return false, err
	}
	data, err := os.ReadFile(stampPath(dest, component))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var s stamp
	_ = json.Unmarshal(data, &s) // what is no stamp has no digest either
	if s.Digest != p.Digest {
		return false, nil // Extract will replace it
	}
	for _, want := range s.Files {
		got, err := look(dest, want.Path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && got != want {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}
