package dev.usher;

/**
 * An interval as Postgres keeps it: parts that do not convert into each other. All three at their largest
 * (smallest) mean infinity (minus infinity).
 */
public record PgInterval(int months, int days, long micros) {}
