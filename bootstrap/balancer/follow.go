package balancer

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	discovery "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// answerTimeout is how long a server that accepted a connection may take to begin its answer. A watch begins at once.
const answerTimeout = 10 * time.Second

// follow keeps the list as the cluster has it, with the kubeconfig that is there at any time.
func (b *balancer) follow(ctx context.Context) {
	f := &follower{report: b.Report, keep: func(servers []string) { b.keep(ctx, servers) }}
	var read []byte
	end := func() {}
	defer func() { end() }()
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		// A look is enough, and sees also what an event would not: that a file named in the kubeconfig has come.
		if data, err := os.ReadFile(b.Kubeconfig); err == nil && !bytes.Equal(data, read) {
			end()
			read, end = data, func() {}
			if watch, err := f.watcher(b.Kubeconfig); err != nil {
				read = nil
				f.say(err.Error(), Event{Kind: Trouble, Reason: "read kubeconfig: " + err.Error()})
			} else {
				end = start(ctx, watch)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// start runs f beside its caller and gives what ends it.
func start(ctx context.Context, f func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { f(ctx) })
	return func() {
		cancel()
		done.Wait()
	}
}

// follower watches the EndpointSlice of the API servers.
type follower struct {
	report func(Event)
	keep   func(servers []string)

	mu   sync.Mutex
	said string
}

// say reports an event about the watch if it is another state than the one reported last.
func (f *follower) say(state string, e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state != f.said {
		f.said = state
		f.report(e)
	}
}

// watcher gives what watches with a kubeconfig until its context ends.
func (f *follower) watcher(kubeconfig string) (func(context.Context), error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "slipway-balancer"
	config.WarningHandler = rest.NoWarnings{}
	// Not client-go's transport: that lives, with a goroutine, as long as the process.
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		TLSClientConfig: tlsConfig, Proxy: config.Proxy,
		TLSHandshakeTimeout: answerTimeout, ResponseHeaderTimeout: answerTimeout,
	}
	authorized, err := rest.HTTPWrappersForConfig(config, transport)
	if err != nil {
		return nil, err
	}
	client, err := discovery.NewForConfigAndClient(config, &http.Client{Transport: authorized})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		defer transport.CloseIdleConnections()
		f.reflect(ctx, f.listWatch(client.RESTClient(), transport.CloseIdleConnections))
	}, nil
}

// listWatch selects by name, since that is what an authorization rule for this one object can allow. Forget is called
// after each failure: a connection may be one that was authenticated with a certificate that has since expired.
func (f *follower) listWatch(client rest.Interface, forget func()) *cache.ListWatch {
	lw := cache.NewListWatchFromClient(client, "endpointslices", metav1.NamespaceDefault,
		fields.OneTermEqualSelector(metav1.ObjectNameField, "kubernetes"))
	list, open := lw.ListWithContextFunc, lw.WatchFuncWithContext
	note := func(ctx context.Context, err error) {
		if err == nil || ctx.Err() != nil {
			return
		}
		forget()
		// By the kind of failure: the text differs each time, by a port or the like.
		f.say("failed: "+string(apierrors.ReasonForError(err)),
			Event{Kind: Trouble, Reason: "watch the list of servers: " + cause(err).Error()})
	}
	lw.ListWithContextFunc = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		l, err := list(ctx, o)
		note(ctx, err)
		return l, err
	}
	lw.WatchFuncWithContext = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		w, err := open(ctx, o)
		note(ctx, err)
		return w, err
	}
	return lw
}

func (f *follower) reflect(ctx context.Context, lw *cache.ListWatch) {
	silent := logr.Discard() // what goes wrong is reported as events
	r := cache.NewReflectorWithOptions(lw, &discoveryv1.EndpointSlice{}, store{f}, cache.ReflectorOptions{
		Logger: &silent,
		// The default lets half a minute pass, while all it costs is a connection on loopback.
		Backoff: &wait.Backoff{Duration: retryEvery / 2, Factor: 2, Jitter: 0.5, Steps: 4, Cap: 4 * time.Second},
	})
	r.RunWithContext(klog.NewContext(ctx, silent))
}

func (f *follower) heard() { f.say("following", Event{Kind: Following}) }

// take hands on the addresses in the slice, if there are any.
func (f *follower) take(slice *discoveryv1.EndpointSlice) {
	if servers := addresses(slice); len(servers) > 0 {
		f.keep(servers)
	}
}

// addresses gives them sorted. It does not ask whether they are ready: that is for the balancer to find out.
func addresses(slice *discoveryv1.EndpointSlice) []string {
	var out []string
	for _, p := range slice.Ports {
		if p.Name == nil || *p.Name != "https" || p.Port == nil {
			continue
		}
		for _, e := range slice.Endpoints {
			for _, a := range e.Addresses {
				out = append(out, net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// store hands on each state of the one object that is watched.
type store struct{ *follower }

var (
	_ cache.ReflectorStore         = store{}
	_ cache.ResourceVersionUpdater = store{}
)

func (s store) Add(obj any) error {
	if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
		s.take(slice)
	}
	return nil
}

func (s store) Update(obj any) error { return s.Add(obj) }

func (s store) Replace(objs []any, _ string) error {
	s.heard()
	for _, o := range objs {
		_ = s.Add(o) // never fails
	}
	return nil
}

// Delete keeps the list: without the object, the servers are still where they were.
func (s store) Delete(any) error { return nil }

// Resync has nothing to do: there is no copy that could differ.
func (s store) Resync() error { return nil }

// UpdateResourceVersion is called with each event. That a watch could be opened says less: client-go gives an empty
// one where a connection was closed early.
func (s store) UpdateResourceVersion(string) { s.heard() }
