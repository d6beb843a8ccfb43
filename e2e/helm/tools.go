//go:build tools

// Package tools pins the helm command that the e2e stories use: the blank
// import keeps its packages in go.mod and go.sum.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
