-- Ed25519 signatures (RFC 8032), checked in PL/pgSQL, for a stand-in that must refuse what is not signed. Some
-- ten milliseconds a signature; nothing here is in constant time, and nothing here is secret.
--
-- Numbers are modulo p = 2^255 - 19 and may be negative in between: `%` keeps the sign. A point is {X,Y,Z,T} in
-- extended coordinates (RFC 8032 section 5.1.4).
CREATE SCHEMA stand_in;

CREATE FUNCTION stand_in.p() RETURNS numeric LANGUAGE sql IMMUTABLE AS
  $$SELECT 57896044618658097711785492504343953926634992332820282019728792003956564819949$$;

-- Little-endian, as RFC 8032 writes numbers down.
CREATE FUNCTION stand_in.number_of(octets bytea) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  found numeric := 0;
BEGIN
  FOR i IN REVERSE length(octets) - 1 .. 0 LOOP
    found := found * 256 + get_byte(octets, i);
  END LOOP;
  RETURN found;
END
$body$;

CREATE FUNCTION stand_in.octets_of(value numeric) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  octets bytea := decode(repeat('00', 32), 'hex');
BEGIN
  FOR i IN 0 .. 31 LOOP
    octets := set_byte(octets, i, (value % 256)::int);
    value := div(value, 256);
  END LOOP;
  RETURN octets;
END
$body$;

CREATE FUNCTION stand_in.power(base numeric, exponent numeric) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  p CONSTANT numeric := stand_in.p();
  found numeric := 1;
BEGIN
  WHILE exponent > 0 LOOP
    IF exponent % 2 = 1 THEN
      found := found * base % p;
    END IF;
    base := base * base % p;
    exponent := div(exponent, 2);
  END LOOP;
  RETURN found;
END
$body$;

-- RFC 8032 section 5.1.3; NULL for what is no point.
CREATE FUNCTION stand_in.point_of(octets bytea) RETURNS numeric[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  p CONSTANT numeric := stand_in.p();
  d CONSTANT numeric := 37095705934669439343138083508754565189542113879843219016388785533085940283555;
  odd CONSTANT int := get_byte(octets, 31) >> 7;
  y numeric := stand_in.number_of(set_byte(octets, 31, get_byte(octets, 31) & 127));
  u numeric;
  v numeric;
  x numeric;
BEGIN
  IF y >= p THEN
    RETURN NULL;
  END IF;
  u := (y * y + p - 1) % p;
  v := (d * (y * y % p) + 1) % p;
  x := u * (v * v % p * v % p) % p * stand_in.power(u * stand_in.power(v, 7) % p, div(p - 5, 8)) % p;
  IF v * (x * x % p) % p <> u THEN
    x := x * stand_in.power(2, div(p - 1, 4)) % p;
    IF v * (x * x % p) % p <> u THEN
      RETURN NULL;
    END IF;
  END IF;
  IF x = 0 AND odd = 1 THEN
    RETURN NULL;
  END IF;
  IF x % 2 <> odd THEN
    x := p - x;
  END IF;
  RETURN ARRAY[x, y, 1, x * y % p];
END
$body$;

CREATE FUNCTION stand_in.add(a numeric[], b numeric[]) RETURNS numeric[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  p CONSTANT numeric := stand_in.p();
  k CONSTANT numeric := 16295367250680780974490674513165176452449235426866156013048779062215315747161;  -- 2d
  e numeric := (a[2] - a[1]) * (b[2] - b[1]) % p;
  h numeric := (a[2] + a[1]) * (b[2] + b[1]) % p;
  f numeric := a[4] * k % p * b[4] % p;
  g numeric := 2 * a[3] * b[3] % p;
  swap numeric;
BEGIN
  swap := h - e; h := h + e; e := swap;
  swap := g - f; g := g + f; f := swap;
  RETURN ARRAY[e * f % p, g * h % p, f * g % p, e * h % p];
END
$body$;

-- The multiples of a point from 0 to 15, one after the other: element 4i + 1 is X of i times the point.
CREATE FUNCTION stand_in.multiples(point numeric[]) RETURNS numeric[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  last numeric[] := ARRAY[0, 1, 1, 0];
  found numeric[] := last;
BEGIN
  FOR i IN 1 .. 15 LOOP
    last := stand_in.add(last, point);
    found := found || last;
  END LOOP;
  RETURN found;
END
$body$;

-- Whether a signature is good, as strictly as the `verify_strict` of common libraries: s below the order of the
-- group, neither the key nor R of small order, and R itself must come out.
CREATE FUNCTION stand_in.verifies(public_key bytea, message bytea, signature bytea) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  p CONSTANT numeric := stand_in.p();
  k CONSTANT numeric := 16295367250680780974490674513165176452449235426866156013048779062215315747161;  -- 2d
  l CONSTANT numeric := 7237005577332262213973186563042994240857116359379907606001950938285454250989;
  base CONSTANT numeric[] := ARRAY[
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960, 1,
    46827403850823179245072216630277197565144205554125654976674165829533817101731];
  r CONSTANT bytea := substr(signature, 1, 32);
  s CONSTANT numeric := stand_in.number_of(substr(signature, 33, 32));
  h CONSTANT numeric := stand_in.number_of(sha512(r || public_key || message)) % l;
  key numeric[] := stand_in.point_of(public_key);
  of_base numeric[];
  of_key numeric[];
  scalars CONSTANT bytea[] := ARRAY[stand_in.octets_of(s), stand_in.octets_of(h)];
  table_ numeric[];
  x numeric := 0; y numeric := 1; z numeric := 1; t numeric := 0;
  a numeric; b numeric; c numeric; e numeric; f numeric; g numeric;
  nibble int; at int;
BEGIN
  IF key IS NULL OR s >= l OR length(signature) <> 64 THEN
    RETURN false;
  END IF;
  of_base := stand_in.multiples(base);
  of_key := stand_in.multiples(ARRAY[p - key[1], key[2], 1, p - key[4]]);  -- of its opposite
  IF of_key[33] % p = 0 THEN
    RETURN false;  -- eight times the key is nothing: it is of small order
  END IF;
  -- s B - h A, four bits at a time, the highest first.
  FOR i IN REVERSE 63 .. 0 LOOP
    FOR j IN 1 .. 4 LOOP
      a := x * x % p; b := y * y % p; c := 2 * z * z % p;
      e := (x + y) * (x + y) % p - a - b; g := b - a; f := g - c; a := - a - b;
      x := e * f % p; y := g * a % p; z := f * g % p;
    END LOOP;
    t := e * a % p;
    FOR which IN 1 .. 2 LOOP
      nibble := get_byte(scalars[which], i / 2) >> 4 * (i % 2) & 15;
      CONTINUE WHEN nibble = 0;
      at := 4 * nibble;
      IF which = 1 THEN table_ := of_base; ELSE table_ := of_key; END IF;
      a := (y - x) * (table_[at + 2] - table_[at + 1]) % p;
      b := (y + x) * (table_[at + 2] + table_[at + 1]) % p;
      c := t * k % p * table_[at + 4] % p;
      g := 2 * z * table_[at + 3] % p;
      e := b - a; f := g - c; g := g + c; b := b + a;
      x := e * f % p; y := g * b % p; z := f * g % p; t := e * b % p;
    END LOOP;
  END LOOP;
  z := stand_in.power((z % p + p) % p, p - 2);
  x := (x * z % p + p) % p; y := (y * z % p + p) % p;
  IF stand_in.octets_of(y + (x % 2) * (p + 19)) <> r THEN
    RETURN false;
  END IF;
  table_ := stand_in.multiples(ARRAY[x, y, 1, x * y % p]);
  RETURN table_[33] % p <> 0;
END
$body$;
