package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// ConfigureKubelet puts the settings over a configuration of the kubelet: mappings are merged, all else is replaced.
func (s Settings) ConfigureKubelet(c *kubeletv1beta1.KubeletConfiguration, version string) (*kubeletv1beta1.KubeletConfiguration, error) {
	if gates := s.Gates(kubelet, version); len(gates) > 0 {
		c.FeatureGates = gates
	}
	if len(s.Kubelet) == 0 {
		return c, nil
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var ours map[string]any
	if err := json.Unmarshal(text, &ours); err != nil {
		return nil, err
	}
	if text, err = json.Marshal(merged(ours, s.Kubelet)); err != nil {
		return nil, err
	}
	out := &kubeletv1beta1.KubeletConfiguration{}
	return out, json.Unmarshal(text, out)
}

// ProxyGates are those of kube-proxy.
func (s Settings) ProxyGates(version string) map[string]bool { return s.Gates(proxy, version) }

func merged(ours, theirs map[string]any) map[string]any {
	out := maps.Clone(ours)
	for k, v := range theirs {
		a, aok := out[k].(map[string]any)
		b, bok := v.(map[string]any)
		switch {
		case v == nil: // nothing is said
		case aok && bok:
			out[k] = merged(a, b)
		default:
			out[k] = v
		}
	}
	return out
}

// kubeletHeader is what a part of a KubeletConfiguration may say of itself.
func kubeletHeader() map[string]string {
	return map[string]string{"apiVersion": kubeletv1beta1.SchemeGroupVersion.String(), "kind": "KubeletConfiguration"}
}

func checkKubelet(part map[string]any) (out []Problem) {
	rest := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(part)) {
		why := OwnedByKubelet()[name]
		if want, ok := kubeletHeader()[name]; ok && part[name] != want {
			why = fmt.Sprintf("it must be %q", want)
		}
		if why != "" {
			out = append(out, Problem{[]string{"kubelet", name}, errors.New(why)})
			continue
		}
		rest[name] = part[name]
	}
	return append(out, checkValue([]string{"kubelet"}, rest, reflect.TypeFor[kubeletv1beta1.KubeletConfiguration]())...)
}

// checkValue finds all that does not fit a type, strictly. The library's own strict decoder stops at the first wrong value.
func checkValue(path []string, v any, t reflect.Type) []Problem {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if v == nil {
		return nil
	}
	_, custom := reflect.New(t).Interface().(json.Unmarshaler)
	switch {
	case custom:
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		return checkMapping(path, v, t)
	case t.Kind() == reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			return []Problem{{path, errors.New("it must be a list")}}
		}
		var out []Problem
		for i, e := range list {
			out = append(out, checkValue(append(slices.Clone(path), fmt.Sprint(i)), e, t.Elem())...)
		}
		return out
	}
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t).Interface())
	}
	if err == nil {
		return nil
	}
	return []Problem{{path, wrongType(t, err)}}
}

func checkMapping(path []string, v any, t reflect.Type) (out []Problem) {
	m, ok := v.(map[string]any)
	if !ok {
		return []Problem{{path, errors.New("it must be a mapping of names to values")}}
	}
	var fields map[string]reflect.Type
	if t.Kind() == reflect.Struct {
		fields = Fields(t)
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := append(slices.Clone(path), name)
		elem, ok := fields[name]
		switch {
		case t.Kind() == reflect.Map:
			out = append(out, checkValue(at, m[name], t.Elem())...)
		case !ok:
			out = append(out, Problem{at, fmt.Errorf("there is no such field%s", Meant(name, maps.Keys(fields)))})
		default:
			out = append(out, checkValue(at, m[name], elem)...)
		}
	}
	return out
}

// Fields gives the fields of a type by their names in JSON.
func Fields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			out[name] = f.Type
		}
	}
	return out
}

func wrongType(t reflect.Type, err error) error {
	switch t.Kind() {
	case reflect.Bool:
		return errors.New("it must be true or false")
	case reflect.String:
		return errors.New("it must be a text")
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Float64:
		return fmt.Errorf("it must be a number that fits %v", t.Kind())
	default:
		return err
	}
}

// Meant suggests the name that differs least, if one differs little.
func Meant(name string, names iter.Seq[string]) string {
	best, least := "", max(len(name)/3, 1)+1
	for n := range names {
		if len(name)-len(n) > least { // it may be very long
			continue
		}
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d < least || d == least && best != "" && n < best {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is how many letters are to be changed, added or left out to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			up := row[j+1]
			step := 1
			if a[i] == b[j] {
				step = 0
			}
			row[j+1] = min(up+1, row[j]+1, corner+step)
			corner = up
		}
	}
	return row[len(b)]
}
