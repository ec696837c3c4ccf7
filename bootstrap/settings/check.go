package settings

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Problem is what is wrong with one setting.
type Problem struct {
	Path []string // of the field in a file
	Err  error
}

// Check finds all that is wrong with the settings, for a Kubernetes version, with the leading v. Without one, names are not
// looked up.
func (s Settings) Check(version string) []Problem {
	k := knownIn(version)
	out := s.checkGates(k, version)
	for _, c := range []struct{ field, name string }{
		{"apiServer", apiServer}, {"controllerManager", controllerManager}, {"scheduler", scheduler},
	} {
		args := s.args(c.name)
		for _, name := range slices.Sorted(maps.Keys(args)) {
			if err := checkArg(k, c.name, name, version); err != nil {
				out = append(out, Problem{[]string{c.field, "extraArgs", name}, err})
			}
		}
	}
	return append(out, checkKubelet(s.Kubelet)...)
}

func (s Settings) checkGates(k known, version string) (out []Problem) {
	for _, name := range slices.Sorted(maps.Keys(s.FeatureGates)) {
		g, ok := k.gates[name]
		var err error
		switch {
		case len(k.gates) > 0 && !ok:
			err = fmt.Errorf("there is no feature gate of that name in Kubernetes %s%s", version, Meant(name, maps.Keys(k.gates)))
		case g.locked && g.on != s.FeatureGates[name]:
			err = fmt.Errorf("it is %v in Kubernetes %s and cannot be changed any more", g.on, version)
		case !gateName.MatchString(name):
			err = errors.New("that is no name of a feature gate")
		}
		if err != nil {
			out = append(out, Problem{[]string{"featureGates", name}, err})
		}
	}
	return out
}

var (
	gateName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)
	argName  = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
)

func checkArg(k known, component, name, version string) error {
	if !argName.MatchString(name) {
		return errors.New("write a flag's name without hyphens in front, as in max-requests-inflight")
	}
	if why := ownedArg(component, name); why != "" {
		return errors.New(why)
	}
	if len(k.flags) > 0 && !k.flags[component+" "+name] {
		theirs := func(yield func(string) bool) {
			for f := range k.flags {
				if c, flag, _ := strings.Cut(f, " "); c == component && !yield(flag) {
					return
				}
			}
		}
		return fmt.Errorf("%s %s has no flag of that name%s", component, version, Meant(name, theirs))
	}
	return nil
}
