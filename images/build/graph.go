package build

import (
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/internal/fault"
)

// graph is all units of one version's bundle.
type graph struct {
	pins       pins.Set
	byUpstream map[string]*unit // by the upstream's short name
	pause      *unit
	userland   *unit
	components []*unit // what the bundle lists, in the order of the pins
}

// newGraph makes the units of the wanted components; none named means all.
func newGraph(s pins.Set, wanted []string, t toolchain) (*graph, error) {
	g := &graph{pins: s, byUpstream: map[string]*unit{}, pause: pauseUnit(t.c)}
	for _, p := range programs(s) {
		u, ok := s.Upstream(p.upstream)
		if !ok {
			return nil, fmt.Errorf("find the upstream %q", p.upstream)
		}
		compilers := t.golang
		if p.cgo {
			compilers += " " + t.c
		}
		made, err := goUnit(p, u, compilers)
		if err != nil {
			return nil, err
		}
		g.byUpstream[p.upstream] = made
	}
	base, _ := s.Component("machine-rootfs")
	g.userland = userlandUnit(base.Version)
	return g, g.add(wanted)
}

func (g *graph) add(wanted []string) error {
	for _, name := range wanted {
		if _, ok := g.pins.Component(name); !ok {
			return fault.New("unknown-component", fmt.Sprintf("build component %q", name),
				fmt.Errorf("the components are %s", strings.Join(g.names(), ", ")), "choose from these components")
		}
	}
	table := recipes()
	for _, c := range g.pins.Components {
		if len(wanted) > 0 && !slices.Contains(wanted, c.Name) {
			continue
		}
		if all, ok := allDebian()[c.Name]; ok {
			g.components = append(g.components, all(c))
			continue
		}
		i := slices.IndexFunc(table, func(r recipe) bool { return r.component == c.Name })
		if i < 0 {
			return fmt.Errorf("find the recipe of %q", c.Name)
		}
		g.components = append(g.components, g.componentUnit(c, table[i]))
	}
	return nil
}

// allDebian has what makes those components that nothing of a Go module is in.
func allDebian() map[string]func(pins.Component) *unit {
	return map[string]func(pins.Component) *unit{"machine-rootfs": rootfsUnit, "keepalived": keepalivedUnit}
}

func (g *graph) names() []string {
	var out []string
	for _, c := range g.pins.Components {
		out = append(out, c.Name)
	}
	return out
}

// upstream gives the Go module that a component comes from.
func (g *graph) upstream(c pins.Component) pins.Upstream {
	u, _ := g.pins.Upstream(c.Upstream)
	return u
}

// programs gives the unit with a component's own binaries.
func (g *graph) programs(c pins.Component) *unit {
	if c.Name == "pause" {
		return g.pause
	}
	for name, u := range g.byUpstream {
		if c.Upstream == name || strings.HasPrefix(c.Upstream, name+"-") {
			return u
		}
	}
	return nil
}

// missing lists every unit that has to be made, each once.
func (b *builder) missing(units []*unit) []*unit {
	var out []*unit
	for _, u := range units {
		if !b.cached(u) {
			out = append(append(out, u), b.missing(u.needs)...)
		}
	}
	slices.SortFunc(out, func(x, y *unit) int { return strings.Compare(x.name, y.name) })
	return slices.Compact(out)
}
