// Command writer is a client of the cluster's API in the end-to-end tests: it writes numbered ConfigMaps, reads each one
// back, and says what was acknowledged and what failed, and when. Its clients begin at different API servers, so that
// whichever server fails, one of them was connected to it. It goes on until its standard input ends.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	most    = 100 // connections to find them with
	pause   = 100 * time.Millisecond
	longest = 20 * time.Minute // even if nobody says stop
)

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: writer KUBECONFIG NAMESPACE PREFIX TIMEOUT SERVERS")
		os.Exit(2)
	}
	timeout, err := time.ParseDuration(os.Args[4])
	if err != nil {
		fmt.Fprintln(os.Stderr, "how long a request may take:", err)
		os.Exit(2)
	}
	servers, err := strconv.Atoi(os.Args[5])
	if err != nil {
		fmt.Fprintln(os.Stderr, "how many API servers:", err)
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], timeout, servers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig, namespace, prefix string, timeout time.Duration, servers int) error {
	ctx, stop := context.WithTimeout(context.Background(), longest)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	apis, err := spread(ctx, kubeconfig, namespace, servers)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	var out sync.Mutex
	for i, api := range apis {
		c := &client{api: api, name: fmt.Sprintf("%s-%d", prefix, i), timeout: timeout, out: &out}
		all.Go(func() { c.run(ctx) })
	}
	all.Wait()
	return nil
}

// spread gives clients that are connected to different API servers. A load balancer leads new connections to whichever
// server has the fewest: those that are not taken stay open.
func spread(ctx context.Context, kubeconfig, namespace string, servers int) ([]typed.ConfigMapInterface, error) {
	var out []typed.ConfigMapInterface
	taken := map[string]bool{}
	for range most {
		api, server, err := connect(ctx, kubeconfig, namespace)
		if err != nil {
			return nil, err
		}
		if taken[server] {
			continue
		}
		taken[server] = true
		if out = append(out, api); len(out) == servers {
			return out, nil
		}
	}
	return nil, fmt.Errorf("%d connections led to %d API servers only", most, len(out))
}

// connect makes a connection that is shared with nobody, and says by its certificate which server it led to.
func connect(ctx context.Context, kubeconfig, namespace string) (api typed.ConfigMapInterface, server string, err error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, "", err
	}
	config.QPS = -1
	config.Dial = (&net.Dialer{}).DialContext // with one of its own, no transport is shared
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, "", err
	}
	c, err := kubernetes.NewForConfigAndClient(config, h)
	if err != nil {
		return nil, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/version", http.NoBody)
	if err != nil {
		return nil, "", err
	}
	resp, err := h.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return c.CoreV1().ConfigMaps(namespace), resp.TLS.PeerCertificates[0].SerialNumber.String(), err
}

type client struct {
	api     typed.ConfigMapInterface
	name    string
	timeout time.Duration // of a request
	out     *sync.Mutex
}

// say prints when, who, what, and the ConfigMap or the error.
func (c *client) say(what string, about any) {
	now := time.Now()
	c.out.Lock()
	defer c.out.Unlock()
	fmt.Printf("%d %s %s %v\n", now.UnixNano(), c.name, what, about)
}

func (c *client) run(ctx context.Context) {
	c.say("begins", "")
	defer c.say("ends", "")
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("%s-%d", c.name, n)
		if c.persist(ctx, "wrote", name, c.write) {
			c.persist(ctx, "read", name, c.read)
		}
		wait(ctx)
	}
}

// persist tries until it succeeds, or ctx ends. A request that has begun is brought to its end in any case.
func (c *client) persist(ctx context.Context, what, name string, request func(context.Context, string) error) bool {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		err := request(limited, name)
		cancel()
		if err == nil {
			c.say(what, name)
			return true
		}
		c.say("failed", err)
		wait(ctx)
	}
	return false
}

// write takes it for an acknowledgement, too, that an earlier try did write, of which nothing was heard.
func (c *client) write(ctx context.Context, name string) error {
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.api.Create(ctx, o, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// read wants what was acknowledged. That it is not there is no failure that another try could heal.
func (c *client) read(ctx context.Context, name string) error {
	_, err := c.api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		c.say("lost", name)
		return nil
	}
	return err
}

func wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}
