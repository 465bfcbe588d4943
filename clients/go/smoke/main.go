// Command smoke issues a token at the Usher given as argument, runs one query in its scope, and prints a
// JSON line with what came back. It is how the tests know that the Go stubs work against a real sidecar.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	usherv1 "usher.dev/client-go/usher/v1"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: smoke HOST:PORT")
		os.Exit(2)
	}
	if err := smoke(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func smoke(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()

	claims, err := structpb.NewStruct(map[string]any{"tenant_id": "acme"})
	if err != nil {
		return err
	}
	issued, err := usherv1.NewTokenServiceClient(connection).IssueToken(ctx, &usherv1.IssueTokenRequest{
		Subject: "alice",
		Claims:  claims,
	})
	if err != nil {
		return err
	}
	result, err := usherv1.NewQueryServiceClient(connection).RunScopedQuery(ctx, &usherv1.RunScopedQueryRequest{
		Scope:      &usherv1.Scope{Scope: &usherv1.Scope_Token{Token: issued.GetToken()}},
		Sql:        "select name from users where id = $1",
		Parameters: []*usherv1.Value{{Kind: &usherv1.Value_TextValue{TextValue: "alice"}}},
	})
	if err != nil {
		return err
	}
	if len(result.GetData()) != 1 {
		return fmt.Errorf("expected one column, got %d", len(result.GetData()))
	}
	rows := make([][]string, 0, result.GetRowCount())
	for _, name := range result.GetData()[0].GetTexts() {
		rows = append(rows, []string{name})
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"kid":  issued.GetKid(),
		"alg":  issued.GetAlg(),
		"rows": rows,
	})
}
