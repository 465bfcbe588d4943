package usher

import (
	"encoding/json"
	"math"
	"reflect"

	"google.golang.org/protobuf/types/known/structpb"
)

const exact = 1<<53 - 1

// claimsStruct is the message of claims, whose slices, maps and texts may be of any type.
func claimsStruct(claims map[string]any) (*structpb.Struct, error) {
	plain, err := claim(claims)
	if err != nil {
		return nil, err
	}
	made, err := structpb.NewStruct(plain.(map[string]any))
	if err != nil {
		return nil, errClaim()
	}
	return made, nil
}

func errClaim() *Error {
	return invalid("CLIENT_INVALID", "claims: values are nil, bool, number, string, slice or map by string")
}

// claim is a value as structpb takes it. It would round large integers, and send bytes as base64.
func claim(value any) (any, error) {
	if number, ok := value.(json.Number); ok {
		return jsonNumber(number)
	}
	held := reflect.ValueOf(value)
	switch {
	case isNil(value) && held.Kind() != reflect.Slice:
		return nil, nil
	case held.Kind() == reflect.Pointer:
		return claim(held.Elem().Interface())
	case held.Kind() == reflect.Bool:
		return held.Bool(), nil
	case held.Kind() == reflect.String:
		return held.String(), nil
	case held.Kind() == reflect.Slice && held.Type().Elem().Kind() != reflect.Uint8:
		return list(held)
	case held.Kind() == reflect.Map && held.Type().Key().Kind() == reflect.String:
		return object(held)
	case held.CanFloat() && (math.IsNaN(held.Float()) || math.IsInf(held.Float(), 0)):
		return nil, invalid("CLIENT_INVALID", "claims: a number is finite")
	case held.CanFloat():
		return held.Float(), nil
	case held.CanInt() && (held.Int() > exact || held.Int() < -exact), held.CanUint() && held.Uint() > exact:
		return nil, invalid("CLAIM_NOT_EXACT", "claims: an integer beyond 2^53 - 1 would be rounded; send it as text")
	case held.CanInt():
		return held.Int(), nil
	case held.CanUint():
		return held.Uint(), nil
	}
	return nil, errClaim()
}

func jsonNumber(number json.Number) (any, error) {
	if whole, err := number.Int64(); err == nil {
		return claim(whole)
	}
	decimal, err := number.Float64()
	if err != nil {
		return nil, errClaim()
	}
	return claim(decimal)
}

func list(items reflect.Value) (any, error) {
	made := make([]any, items.Len())
	for at := range made {
		item, err := claim(items.Index(at).Interface())
		if err != nil {
			return nil, err
		}
		made[at] = item
	}
	return made, nil
}

func object(items reflect.Value) (any, error) {
	made := make(map[string]any, items.Len())
	for _, name := range items.MapKeys() {
		item, err := claim(items.MapIndex(name).Interface())
		if err != nil {
			return nil, err
		}
		made[name.String()] = item
	}
	return made, nil
}
