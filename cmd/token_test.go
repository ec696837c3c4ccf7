package cmd

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/bootstrap/server"
	"slipway.dev/slipway/internal/fault"
)

// run gives what a command printed.
func run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, problems bytes.Buffer
	root := newRoot(&options{Stdout: &out, Stderr: &problems, CacheDir: t.TempDir()})
	root.SetOut(&out)
	root.SetErr(&problems)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return out.String(), problems.String(), err
}

func wantFault(t *testing.T, err error, id string) {
	t.Helper()
	if all := fault.All(err); len(all) != 1 || all[0].ID != id || all[0].Next == "" {
		t.Errorf("got %v (%v), want %s", err, all, id)
	}
}

// TestKubeconfigOfAdmin: the flag counts before $KUBECONFIG, whose first file that is there is enough.
func TestKubeconfigOfAdmin(t *testing.T) {
	dir := t.TempDir()
	none, other := filepath.Join(dir, "none"), filepath.Join(dir, "other")
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refuses.Close()
	there := filepath.Join(dir, "there")
	write(t, there, []byte("clusters: [{name: c, cluster: {server: \""+refuses.URL+"\"}}]\ncontexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n"))
	for name, tt := range map[string]struct {
		env  string
		args []string
		id   string
		text string
	}{
		"environment":      {none, nil, "kubeconfig-unreadable", none},
		"list":             {none + ":" + there, nil, "api-refused", ""},
		"flag":             {there, []string{"--kubeconfig", other}, "kubeconfig-unreadable", other},
		"flag that is one": {none, []string{"--kubeconfig", there}, "api-refused", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", tt.env)
			for _, command := range []string{"token list", "token delete abcdef", "token create"} {
				stdout, _, err := run(t, append(strings.Fields(command), tt.args...)...)
				wantFault(t, err, tt.id)
				if !strings.Contains(err.Error(), tt.text) || stdout != "" {
					t.Errorf("%s: %v, printed %q", command, err, stdout)
				}
			}
		})
	}
}

// TestDefaultKubeconfig opens nothing: this computer may be a control plane.
func TestDefaultKubeconfig(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	if got := (&adminFlag{}).files(); !slices.Equal(got, []string{"/etc/kubernetes/admin.conf"}) {
		t.Errorf("got %q", got)
	}
}

func TestTokenCalls(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	for args, want := range map[string]string{
		"token create a b": "at most 1 arg", "token delete": "at least 1 arg", "token list x": "unknown command", "token crate": "unknown command",
		"token create --upload-certs --certificate-key x": "none of the others can be", "token create --ttl x": "invalid argument",
		"token list -o yaml": "text or json", "token create": "is not there",
	} {
		if _, _, err := run(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

func TestPrintIssued(t *testing.T) {
	plain := &server.IssuedToken{Token: "abcdef.0123456789abcdef", Expires: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	join := &server.IssuedToken{Token: plain.Token, JoinCommand: "slipway join x", CertificateKey: "k"}
	for _, tt := range []struct {
		token  *server.IssuedToken
		output outputFormat
		want   string
	}{
		{plain, "text", "abcdef.0123456789abcdef\n"},
		{join, "text", "slipway join x\n"},
		{plain, "json", `{"token":"abcdef.0123456789abcdef","expires":"2026-05-01T12:00:00Z"}` + "\n"},
		{join, "json", `{"token":"abcdef.0123456789abcdef","certificateKey":"k","joinCommand":"slipway join x"}` + "\n"},
	} {
		var out bytes.Buffer
		if err := printIssued(&options{Stdout: &out}, tt.output, tt.token); err != nil || out.String() != tt.want {
			t.Errorf("got %q, %v, want %q", out.String(), err, tt.want)
		}
	}
}

func TestPrintTokens(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	list := []invite.TokenInfo{
		{ID: "aaaaaa", Expires: now.Add(-time.Minute), Usages: []string{"signing", "authentication"}, Groups: []string{"g1", "g2"}},
		{ID: "bbbbbb", Expires: now.Add(5 * time.Hour), Usages: []string{"signing"}, Description: "for the rack", Groups: []string{"g1"}},
		{ID: "cccccc"},
	}
	const want = `TOKEN ID   TTL       EXPIRES                USAGES                   DESCRIPTION    GROUPS
aaaaaa     expired   2026-05-01T11:59:00Z   signing,authentication   -              g1,g2
bbbbbb     5h        2026-05-01T17:00:00Z   signing                  for the rack   g1
cccccc     forever   never                  -                        -              -
`
	var out bytes.Buffer
	if err := printTokens(&options{Stdout: &out}, "text", list, now); err != nil || out.String() != want {
		t.Errorf("%v\ngot\n%s\nwant\n%s", err, out.String(), want)
	}
	out.Reset()
	if err := printTokens(&options{Stdout: &out}, "json", nil, now); err != nil || out.String() != "[]\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	out.Reset()
	if err := printTokens(&options{Stdout: &out}, "json", list, now); err != nil || !strings.HasPrefix(out.String(), `[{"id":"aaaaaa","expires":"2026-05-01T11:59:00Z"`) {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
