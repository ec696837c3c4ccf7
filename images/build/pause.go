package build

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
)

//go:embed pause/pause.c
var pauseSource []byte

func pauseUnit(compiler string) *unit {
	flags := []string{"-Os", "-static", "-s", "-Wall", "-Werror", "-Wl,--build-id=none", "-ffile-prefix-map=.=pause"}
	return &unit{
		name: "c-pause", inputs: append([]string{hash(pauseSource), compiler}, flags...), tools: []string{"gcc"},
		make: func(ctx context.Context, _ *builder, dir string, _ []string) error {
			// The compiler names its input in what it writes, so the name must not vary.
			if err := os.WriteFile(filepath.Join(dir, "pause.c"), pauseSource, 0o644); err != nil {
				return err
			}
			args := append(append([]string{"gcc"}, flags...), "-o", "pause", "pause.c")
			_, err := command{args: args, dir: dir}.run(ctx)
			return err
		},
	}
}
