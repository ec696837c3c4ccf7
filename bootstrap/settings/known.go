package settings

import (
	"embed"
	"strings"

	"golang.org/x/mod/semver"
)

//go:embed known/*.txt
var files embed.FS

// known is what the components of a minor version know.
type known struct {
	gates map[string]gate
	lacks map[string]bool // "COMPONENT GATE": only that component does not know it
	flags map[string]bool // "COMPONENT FLAG"
}

type gate struct{ on, locked bool }

// knownIn gives nothing for a version that is not known here, of which nothing is refused then.
func knownIn(version string) known {
	k := known{gates: map[string]gate{}, lacks: map[string]bool{}, flags: map[string]bool{}}
	text, err := files.ReadFile("known/" + semver.MajorMinor(version) + ".txt")
	if err != nil {
		return k
	}
	for line := range strings.Lines(string(text)) {
		what, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "gate":
			f := strings.Fields(rest) // name, stage, default, and perhaps "locked"
			k.gates[f[0]] = gate{on: f[2] == "true", locked: len(f) > 3}
		case "lacks":
			k.lacks[rest] = true
		case "flag":
			k.flags[rest] = true
		}
	}
	return k
}
