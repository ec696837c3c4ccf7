package doctor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// health asks each part of the control plane, where the kubelet asks it too.
func health(ctx context.Context, h *Host) []Finding {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	pods, _ := h.staticPods() // what is wrong with manifests, another check says
	out := make([]Finding, len(pods))
	var asked sync.WaitGroup
	for i, p := range pods {
		asked.Go(func() { out[i] = judgeHealth(ctx, p, h.node.Address) })
	}
	asked.Wait()
	if len(out) == 0 {
		return []Finding{problem("there is nothing to ask: no part of the control plane has a manifest")}
	}
	return out
}

func judgeHealth(ctx context.Context, p staticPod, own string) Finding {
	u := p.healthURL(cmp.Or(own, "127.0.0.1"))
	if u == nil {
		return ok("%s is not asked: its manifest says of no address", p.name)
	}
	status, failing, err := askHealth(ctx, u)
	switch {
	case err != nil:
		return problem("%s does not answer", p.name).because(err).
			advise("see what is said of its container, and look at its log below /var/log/pods")
	case status != http.StatusOK:
		return problem("%s is not well: %s", p.name, cmp.Or(strings.Join(failing, ", "), http.StatusText(status))).
			why(fmt.Sprintf("%s://%s%s answers %d", u.Scheme, u.Host, u.Path, status)).
			advise("see what is said of what it names, and look at its log below /var/log/pods")
	}
	return ok("%s is well", p.name)
}

// answerSize is more than a list of checks takes.
const answerSize = 64 << 10

// askHealth gives the status and the checks that fail. Some parts make their certificates at each start, signed by nobody;
// nothing is sent but the question, to this host itself.
func askHealth(ctx context.Context, u *url.URL) (status int, failing []string, err error) {
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // see above
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, answerSize)) // said as far as it can be read
	for line := range bytes.Lines(text) {
		// "[-]etcd failed: reason withheld"
		if name, bad := bytes.CutPrefix(line, []byte("[-]")); bad {
			name, _, _ = bytes.Cut(name, []byte(" "))
			failing = append(failing, string(bytes.TrimSpace(name)))
		}
	}
	return resp.StatusCode, failing, nil
}
