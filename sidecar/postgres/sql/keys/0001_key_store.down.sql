-- All keys with it. The roles stay: other databases of the cluster may use them.
DROP TABLE IF EXISTS usher_keys.ring, usher_keys.key, usher_keys.replica, usher_keys.verifier;
