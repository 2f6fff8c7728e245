// An in-memory registry with the referrers API, for tests: go-containerregistry's, completed where it
// falls short of distribution-spec 1.1 and clients would notice.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

type manifest struct {
	ArtifactType string         `json:"artifactType"`
	Subject      *v1.Descriptor `json:"subject"`
}

func main() {
	address := flag.String("address", "127.0.0.1:5000", "where to listen")
	flag.Parse()
	handler := registry.New(registry.WithReferrersSupport(true))
	log.Fatal(http.ListenAndServe(*address, announceSubject(correctArtifactTypes(handler))))
}

// announceSubject answers the push of a referrer with OCI-Subject; without that header a client has to
// assume that there is no referrers API.
func announceSubject(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			content, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(content))
			var pushed manifest
			if json.Unmarshal(content, &pushed) == nil && pushed.Subject != nil {
				w.Header().Set("OCI-Subject", pushed.Subject.Digest.String())
			}
		}
		next.ServeHTTP(w, r)
	})
}

// correctArtifactTypes lists referrers with their manifest's artifactType; go-containerregistry knows
// only the older way, the config's media type.
func correctArtifactTypes(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, isReferrers := path.Dir(r.URL.Path), false
		if repository, isReferrers = strings.CutSuffix(repository, "/referrers"); !isReferrers {
			next.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		content := answer.Body.Bytes()
		var index v1.IndexManifest
		if answer.Code == http.StatusOK && json.Unmarshal(content, &index) == nil {
			for i, referrer := range index.Manifests {
				stored := httptest.NewRecorder()
				location := repository + "/manifests/" + referrer.Digest.String()
				next.ServeHTTP(stored, httptest.NewRequest(http.MethodGet, location, nil))
				var found manifest
				if json.Unmarshal(stored.Body.Bytes(), &found) == nil && found.ArtifactType != "" {
					index.Manifests[i].ArtifactType = found.ArtifactType
				}
			}
			content, _ = json.Marshal(index)
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(content)
	})
}
