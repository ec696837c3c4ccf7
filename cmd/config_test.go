package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slipway.dev/slipway/bootstrap/config"
	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/testenv"
)

// aboutOneCall are the flags that have no field in a file.
var aboutOneCall = []string{"config", "dry-run", "from", "keep", "output", "wait"}

// kinds are the files, with the commands that read them.
var kinds = map[string]struct {
	fields  any
	command func(*options) *cobra.Command
}{
	config.InitKind: {config.InitConfiguration{}, newInit},
	config.JoinKind: {config.JoinConfiguration{}, newJoin},

	config.LocalKind: {config.LocalCluster{}, newUp},
}

// fieldRow is what the documentation says of a field.
type fieldRow struct{ flag, defaults string }

// sections are the tables of the documentation that have the fields of each kind.
var sections = map[string][]string{
	config.InitKind:  {config.InitKind, "Both kinds", "Components"},
	config.JoinKind:  {config.JoinKind, "Both kinds"},
	config.LocalKind: {config.LocalKind, "Components"},
}

// documented gives the rows of the tables of a kind.
func documented(t *testing.T, kind string) map[string]fieldRow {
	t.Helper()
	out := map[string]fieldRow{}
	for _, file := range []string{"servers-config.md", "config.md"} {
		text, err := os.ReadFile("../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range strings.Split(string(text), "\n## ") {
			title, body, _ := strings.Cut(section, "\n")
			if !slices.Contains(sections[kind], title) {
				continue
			}
			for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|([^|]*)\\|([^|]*)\\|[^|]+\\|$").FindAllStringSubmatch(body, -1) {
				if _, twice := out[m[1]]; twice {
					t.Errorf("%s is there twice", m[1])
				}
				out[m[1]] = fieldRow{strings.TrimPrefix(strings.Trim(m[2], "` "), "--"), strings.TrimSpace(m[3])}
			}
		}
	}
	return out
}

// fieldsOf gives the fields of a kind, by the names that they have in a file.
func fieldsOf(kind reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(kind) {
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" {
			out[name] = f.Type
		}
	}
	return out
}

// TestConfigIsDocumented holds the types, the flags and docs/servers-config.md together, all ways.
func TestConfigIsDocumented(t *testing.T) {
	for kind, k := range kinds {
		t.Run(kind, func(t *testing.T) {
			rows, fields, c := documented(t, kind), fieldsOf(reflect.TypeOf(k.fields)), k.command(&options{})
			for name := range fields {
				if _, ok := rows[name]; !ok {
					t.Errorf("the field %s is not documented", name)
				}
			}
			byFlag := map[string]bool{}
			for name, r := range rows {
				if fields[name] == nil {
					t.Errorf("%s is documented, and no field", name)
				}
				byFlag[r.flag] = true
				f := c.Flag(r.flag)
				if f == nil {
					if r.flag != "" && r.flag != "ENDPOINT" {
						t.Errorf("%s is said to be the flag %s, which there is not", name, r.flag)
					}
					continue
				}
				if d := f.DefValue; d != "" && d != "[]" && r.defaults != "`"+d+"`" {
					t.Errorf("the default of %s is %q, the documentation says %s", name, d, r.defaults)
				}
			}
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if byFlag[f.Name] == slices.Contains(aboutOneCall, f.Name) {
					t.Errorf("--%s has a field: %v, is about one call only: %v", f.Name, byFlag[f.Name], !byFlag[f.Name])
				}
			})
		})
	}
}

// samples are, for each type of field, what the file says, what that makes of the flag, another value on the command line, and
// what that makes of it.
var samples = map[reflect.Type][4]string{
	reflect.TypeFor[*string]():        {"file", "file", "line", "line"},
	reflect.TypeFor[*bool]():          {"true", "true", "false", "false"},
	reflect.TypeFor[*int]():           {"3", "3", "5", "5"},
	reflect.TypeFor[*float64]():       {"1.5", "1.5", "0.5", "0.5"},
	reflect.TypeFor[*time.Duration](): {"90m", "1h30m0s", "1h", "1h0m0s"},
	reflect.TypeFor[[]string]():       {"[a, 'b,c']", `[a,"b,c"]`, "d", "[d]"},
}

// TestConfigReachesFlags: each field does what its flag does, unless the flag is given.
func TestConfigReachesFlags(t *testing.T) {
	for kind, k := range kinds {
		fields := fieldsOf(reflect.TypeOf(k.fields))
		for name, r := range documented(t, kind) {
			if k.command(&options{}).Flag(r.flag) == nil {
				continue
			}
			t.Run(kind+"/"+name, func(t *testing.T) {
				s, known := samples[fields[name]]
				if !known {
					t.Fatalf("there is no sample of type %v", fields[name])
				}
				path := filepath.Join(t.TempDir(), "file.yaml")
				write(t, path, fmt.Appendf(nil, "apiVersion: %s\nkind: %s\n%s: %s\n", config.APIVersion, kind, name, s[0]))
				for _, tt := range []struct {
					want string
					args []string
				}{{s[1], nil}, {s[3], []string{"--" + r.flag + "=" + s[2]}}} {
					c := k.command(&options{})
					if err := c.ParseFlags(append(tt.args, "--config", path)); err != nil {
						t.Fatal(err)
					}
					if err := c.PreRunE(c, nil); err != nil {
						t.Fatal(err)
					}
					c.LocalFlags().VisitAll(func(f *pflag.Flag) {
						switch got := f.Value.String(); {
						case f.Name == r.flag && got != tt.want:
							t.Errorf("with %v: %s, want %s", tt.args, got, tt.want)
						case f.Name != r.flag && f.Name != "config" && got != f.DefValue:
							t.Errorf("it changes --%s too, to %s", f.Name, got)
						}
					})
				}
			})
		}
	}
}

// configFile writes one that may hold secrets.
func configFile(t *testing.T, kind, fields string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	write(t, path, fmt.Appendf(nil, "apiVersion: %s\nkind: %s\n%s", config.APIVersion, kind, fields))
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigRefused(t *testing.T) {
	initFile, joinFile := configFile(t, config.InitKind, "podCIDR: x\n"), configFile(t, config.JoinKind, "token: abcdef.0123456789abcdef\n")
	exposed := configFile(t, config.JoinKind, "certificateKey: k\n")
	if err := os.Chmod(exposed, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, id, text string }{
		{"init --config " + joinFile, "config-invalid", "kind is"},
		{"join --config " + initFile, "config-invalid", "kind is"},
		{"init --config " + filepath.Join(t.TempDir(), "none"), "config-invalid", "no such file"},
		{"join --config " + exposed, "config-exposed", "mode 0644"},
		{"init --config " + initFile, "option-invalid", `podCIDR "x" of "` + initFile + `:3"`},
		{"init --config " + initFile + " --pod-cidr y", "option-invalid", `--pod-cidr "y"`},
		{"init --config " + configFile(t, config.InitKind, "kubernetesVersion: 1.2\n"), "unknown-version", `"1.2"`},
	} {
		stdout, _, err := run(t, strings.Fields(tt.args)...)
		wantFault(t, err, tt.id)
		if err == nil || !strings.Contains(err.Error(), tt.text) || stdout != "" {
			t.Errorf("%s: %v, printed %q", tt.args, err, stdout)
		}
	}
}

// TestConfigOnHost is about what is found out only on a host that could be a node. Nothing is changed.
func TestConfigOnHost(t *testing.T) {
	if os.Geteuid() != 0 {
		testenv.Lacks(t, "planning what init does needs root")
	}
	bundle := testenv.NeedBundle(t)
	const discovery = "token: abcdef.0123456789abcdef\ndiscoveryTokenUnsafeSkipCAVerification: true\n"
	from := func(kind, fields string) string {
		return "--dry-run --config " + configFile(t, kind, fmt.Sprintf("bundle: %s\n%s", bundle, fields))
	}
	for _, tt := range []struct{ args, id, text string }{
		{"init " + from(config.InitKind, "kubernetesVersion: 1.36\n"), "bundle-version", "is of v1.37"},
		{"init " + from(config.InitKind, "") + " --kubernetes-version 1.36", "bundle-version", "is of v1.37"},
		{"join " + from(config.JoinKind, "kubernetesVersion: v1.36.0\nendpoint: x\n"+discovery), "bundle-version", "is of v1.37"},
		{"join " + from(config.JoinKind, "kubernetesVersion: 1.37\nendpoint: from-file\n"+discovery), "option-invalid", `"from-file"`},
		{"join from-line " + from(config.JoinKind, "endpoint: from-file\n"+discovery), "option-invalid", `"from-line"`},
	} {
		_, _, err := run(t, strings.Fields(tt.args)...)
		if all := fault.All(err); len(all) != 1 || all[0].ID != tt.id || !strings.Contains(all[0].Error(), tt.text) {
			t.Errorf("%s: got %v, want [%s] %s", tt.args, err, tt.id, tt.text)
		}
	}
}

// TestHelpOfServers: the examples can be read, and what the flags take is listed.
func TestHelpOfServers(t *testing.T) {
	for kind, text := range map[string]string{config.InitKind: initExample, config.JoinKind: joinExample, config.LocalKind: upExample} {
		path := filepath.Join(t.TempDir(), "file.yaml")
		write(t, path, []byte(text))
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		c := kinds[kind].command(&options{})
		if err := c.ParseFlags([]string{"--config", path}); err != nil {
			t.Fatal(err)
		}
		if err := c.PreRunE(c, nil); err != nil {
			t.Error(err)
		}
		help := c.Long + c.Example + "\n" + c.Flags().FlagUsages()
		for line := range strings.Lines(text) {
			if !strings.Contains(help, "\n  "+line) {
				t.Errorf("the help of %s does not show %q", c.Name(), line)
			}
		}
		if kind == config.LocalKind {
			continue // the rest is about servers
		}
		for _, check := range preflight.Checks() {
			if !regexp.MustCompile(`[ ,]` + check.Name() + `(,|\n)`).MatchString(help) {
				t.Errorf("the help of %s does not name the check %s", c.Name(), check.Name())
			}
		}
		if !strings.Contains(c.Long, "`slipway init --dry-run`") || !strings.Contains(help, "--skip strings") {
			t.Errorf("the help of %s does not say where the steps are listed:\n%s", c.Name(), help)
		}
	}
}
