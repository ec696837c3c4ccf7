// Command writer is a client of the cluster's API in the end-to-end tests: it writes numbered ConfigMaps, reads each one
// back, and says what was acknowledged and what failed, and when. It does so until its standard input ends.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	clients = 3
	timeout = 2 * time.Second
	pause   = 100 * time.Millisecond
	longest = 20 * time.Minute // even if nobody says stop
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: writer KUBECONFIG NAMESPACE PREFIX")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig, namespace, prefix string) error {
	ctx, stop := context.WithTimeout(context.Background(), longest)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	var all sync.WaitGroup
	defer all.Wait()
	var out sync.Mutex
	for i := range clients {
		api, err := connect(kubeconfig, namespace)
		if err != nil {
			stop()
			return err
		}
		c := &client{api: api, name: fmt.Sprintf("%s-%d", prefix, i), out: &out}
		all.Go(func() { c.run(ctx) })
	}
	return nil
}

// connect gives each client a connection of its own, so that together they reach more than one API server.
func connect(kubeconfig, namespace string) (typed.ConfigMapInterface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.Dial = (&net.Dialer{}).DialContext // with one of its own, no transport is shared
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return c.CoreV1().ConfigMaps(namespace), nil
}

type client struct {
	api  typed.ConfigMapInterface
	name string
	out  *sync.Mutex
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
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
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
