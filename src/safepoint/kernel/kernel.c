/*
 * Page checksums and page fingerprints over pages of 8192 bytes, CRC32C over any bytes, and commits in WAL.
 *
 * All read little-endian words; elsewhere the package runs without this file. No function allocates, keeps state or
 * writes beyond its output, and tables are filled when the library is loaded: any number of threads may call them.
 * plain.py, plain_crc32c.py and plain_commits.py say the same in Python, and the tests hold the two against each other.
 *
 * LAYOUT is the agreement with compiled.py: raise both when a signature or a result changes.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "pages are read as little-endian words"
#endif

#define LAYOUT 3
#define PAGE_BYTES 8192
#define PAGE_WORDS (PAGE_BYTES / 4)
#define LANES 32
#define ROWS (PAGE_WORDS / LANES)
#define FNV_PRIME 16777619u
#define KEYS_PER_ROW (PAGE_WORDS + 1)
#define PART_WORDS (PAGE_WORDS / 2)
#define PARTY 8

#define EXPORTED __attribute__((visibility("default")))
#define INLINED static inline __attribute__((always_inline))

/* One function per processor, chosen when the library is loaded; that needs glibc. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__has_attribute)
#if __has_attribute(target_clones)
#define CLONED __attribute__((target_clones("avx2", "default")))
#endif
#endif
#ifndef CLONED
#define CLONED
#endif

/* All functions that take vectors are inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

/* Eight lanes of a sum, and the same bytes of a page at any address. */
typedef uint32_t lanes __attribute__((vector_size(32)));
typedef uint32_t unaligned_lanes __attribute__((vector_size(32), aligned(1), may_alias));
typedef uint32_t word __attribute__((aligned(1), may_alias));

/* Where each lane begins: PostgreSQL, src/include/storage/checksum_impl.h. Data, without which no two agree. */
static const uint32_t FIRST_SUMS[LANES] = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

INLINED lanes mixed(lanes sum, lanes words)
{
    lanes both = sum ^ words;
    return (both * FNV_PRIME) ^ (both >> 17);
}

INLINED uint16_t page_checksum(const uint8_t *page, uint32_t block)
{
    const lanes zero = {0};
    lanes a, b, c, d;
    uint32_t head[LANES], sums[8], sum = 0;

    memcpy(&a, FIRST_SUMS, 32);
    memcpy(&b, FIRST_SUMS + 8, 32);
    memcpy(&c, FIRST_SUMS + 16, 32);
    memcpy(&d, FIRST_SUMS + 24, 32);
    memcpy(head, page, sizeof head);
    head[2] &= 0xFFFF0000u; /* pd_checksum itself counts as zero */
    for (size_t row = 0; row < ROWS; row++) {
        const unaligned_lanes *words = (const unaligned_lanes *)(row ? page + row * LANES * 4 : (const uint8_t *)head);
        a = mixed(a, words[0]);
        b = mixed(b, words[1]);
        c = mixed(c, words[2]);
        d = mixed(d, words[3]);
    }
    for (int round = 0; round < 2; round++) {
        a = mixed(a, zero);
        b = mixed(b, zero);
        c = mixed(c, zero);
        d = mixed(d, zero);
    }
    a = a ^ b ^ c ^ d;
    memcpy(sums, &a, sizeof sums);
    for (int lane = 0; lane < 8; lane++)
        sum ^= sums[lane];
    return (uint16_t)((sum ^ block) % 65535 + 1);
}

/* Checksums of `count` pages whose block numbers begin at `first_block`. */
EXPORTED CLONED void safepoint_page_checksums(const uint8_t *pages, size_t count, uint32_t first_block,
                                              uint16_t *checksums)
{
    for (size_t page = 0; page < count; page++)
        checksums[page] = page_checksum(pages + page * PAGE_BYTES, first_block + (uint32_t)page);
}

/* The keys of both rows, cut in halves: a product of 64 by 32 bits modulo 2^64 is two of 32 by 32. */
struct keys {
    uint64_t first[2];
    uint32_t low[2][PAGE_WORDS], high[2][PAGE_WORDS];
};

INLINED void cut_keys(const uint8_t *bytes, struct keys *keys)
{
    for (int row = 0; row < 2; row++) {
        const uint8_t *of_row = bytes + (size_t)row * KEYS_PER_ROW * 8;
        memcpy(&keys->first[row], of_row, 8);
        for (size_t i = 0; i < PAGE_WORDS; i++) {
            uint64_t key;
            memcpy(&key, of_row + (i + 1) * 8, 8);
            keys->low[row][i] = (uint32_t)key;
            keys->high[row][i] = (uint32_t)(key >> 32);
        }
    }
}

/* What a page's words come to so far. Of products with high halves only 32 bits reach the sum. */
struct sums {
    uint64_t low[2];
    uint32_t high[2];
};

INLINED void add_words(const uint8_t *page, size_t from, const struct keys *keys, struct sums *sums)
{
    const word *words = (const word *)page;
    uint64_t low0 = 0, low1 = 0;
    uint32_t high0 = 0, high1 = 0;

    for (size_t i = from; i < from + PART_WORDS; i++) {
        uint32_t value = words[i];
        low0 += (uint64_t)keys->low[0][i] * value;
        low1 += (uint64_t)keys->low[1][i] * value;
        high0 += keys->high[0][i] * value;
        high1 += keys->high[1][i] * value;
    }
    sums->low[0] += low0;
    sums->low[1] += low1;
    sums->high[0] += high0;
    sums->high[1] += high1;
}

INLINED uint64_t multilinear(const struct keys *keys, const struct sums *sums, int row)
{
    return (keys->first[row] + sums->low[row] + ((uint64_t)sums->high[row] << 32)) >> 32;
}

/* At most PARTY pages, part by part: half of the keys and of a page fit the first cache together, the whole do not. */
INLINED void fingerprint_party(const uint8_t *pages, size_t count, const struct keys *keys, uint64_t *fingerprints)
{
    struct sums sums[PARTY] = {0};

    for (size_t from = 0; from < PAGE_WORDS; from += PART_WORDS)
        for (size_t page = 0; page < count; page++)
            add_words(pages + page * PAGE_BYTES, from, keys, sums + page);
    for (size_t page = 0; page < count; page++)
        fingerprints[page] = multilinear(keys, sums + page, 0) << 32 | multilinear(keys, sums + page, 1);
}

/* Fingerprints of the pages of `length` bytes; the last one may be short, and counts as filled up with zeros. */
EXPORTED CLONED void safepoint_page_fingerprints(const uint8_t *bytes, size_t length, const uint8_t *key_bytes,
                                                 uint64_t *fingerprints)
{
    struct keys keys;
    uint8_t last[PAGE_BYTES] = {0};
    size_t whole = length / PAGE_BYTES, rest = length % PAGE_BYTES;

    cut_keys(key_bytes, &keys);
    for (size_t page = 0; page < whole; page += PARTY) {
        size_t count = whole - page < PARTY ? whole - page : PARTY;
        fingerprint_party(bytes + page * PAGE_BYTES, count, &keys, fingerprints + page);
    }
    if (rest) {
        memcpy(last, bytes + whole * PAGE_BYTES, rest);
        fingerprint_party(last, 1, &keys, fingerprints + whole);
    }
}

/*
 * CRC32C (RFC 3720, appendix B.4), bits reversed as usual: the bit for x^0 is the highest. What is called a remainder
 * here is the state between the inversions at either end; it is linear, so that stretches of bytes can be taken side by
 * side and put together by multiplying with powers of x.
 */
#define POLYNOMIAL 0x82F63B78u
#define SLICES 8
#define LONG_STRETCH 16384
#define SHORT_STRETCH 2048

static uint32_t slices[SLICES][256];
static uint32_t powers[64];           /* x^(8 * 2^k) modulo the polynomial */
static uint32_t over_long, over_short; /* x^(8 * stretch) */

typedef uint64_t quadword __attribute__((aligned(1), may_alias));

/* a * b modulo the polynomial. */
static uint32_t product(uint32_t a, uint32_t b)
{
    uint32_t sum = 0;

    for (int bit = 31; bit >= 0; bit--) {
        sum ^= b & (0u - (a >> bit & 1));
        b = b >> 1 ^ (POLYNOMIAL & (0u - (b & 1)));
    }
    return sum;
}

/* x^(8 * length): multiplied by it, a remainder is what it would be with `length` zero bytes behind. */
static uint32_t power_of_bytes(uint64_t length)
{
    uint32_t power = 0x80000000u;

    for (int k = 0; length; k++, length >>= 1)
        if (length & 1)
            power = product(powers[k], power);
    return power;
}

static void __attribute__((constructor)) fill_tables(void)
{
    powers[0] = 0x00800000u; /* x^8 */
    for (int k = 1; k < 64; k++)
        powers[k] = product(powers[k - 1], powers[k - 1]);
    over_long = power_of_bytes(LONG_STRETCH);
    over_short = power_of_bytes(SHORT_STRETCH);
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (POLYNOMIAL & (0u - (value & 1)));
        slices[0][byte] = value;
    }
    for (int slice = 1; slice < SLICES; slice++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = slices[slice - 1][byte];
            slices[slice][byte] = before >> 8 ^ slices[0][before & 0xFF];
        }
}

static uint32_t by_tables(uint32_t remainder, const uint8_t *bytes, size_t length)
{
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t next = *(const quadword *)bytes ^ remainder;
        remainder = 0;
        for (int byte = 0; byte < 8; byte++)
            remainder ^= slices[7 - byte][next >> 8 * byte & 0xFF];
    }
    for (; length; bytes++, length--)
        remainder = remainder >> 8 ^ slices[0][(remainder ^ *bytes) & 0xFF];
    return remainder;
}

#if defined(__x86_64__)
#define HAS_INSTRUCTION 1
#define WITH_INSTRUCTION __attribute__((target("sse4.2")))
#define TAKE_EIGHT(sum, bytes) sum = __builtin_ia32_crc32di(sum, *(const quadword *)(bytes))
#define TAKE_ONE(sum, byte) sum = __builtin_ia32_crc32qi((uint32_t)(sum), byte)

static int has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__) && (defined(__linux__) || defined(__APPLE__))
#define HAS_INSTRUCTION 1
#define WITH_INSTRUCTION
/* By hand: compilers disagree on how a function asks for an optional instruction. */
#define TAKE_EIGHT(sum, bytes)                                                                                         \
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w1, %2" : "=r"(sum) : "r"(sum), "r"(*(const quadword *)(bytes)))
#define TAKE_ONE(sum, byte)                                                                                            \
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w1, %w2" : "=r"(sum) : "r"(sum), "r"((uint32_t)(byte)))

#if defined(__linux__)
#include <sys/auxv.h>
#define CRC32_CAPABILITY (1ul << 7) /* Linux, arch/arm64/include/uapi/asm/hwcap.h */

static int has_instruction(void)
{
    return (getauxval(AT_HWCAP) & CRC32_CAPABILITY) != 0;
}
#else
static int has_instruction(void)
{
    return 1; /* every 64-bit processor of Apple's */
}
#endif
#endif

#ifdef HAS_INSTRUCTION
/* Three stretches side by side: one instruction takes three cycles, but each cycle can begin one. */
WITH_INSTRUCTION static uint32_t three_stretches(uint32_t remainder, const uint8_t *bytes, size_t stretch,
                                                 uint32_t over)
{
    uint64_t a = remainder, b = 0, c = 0;

    for (const uint8_t *end = bytes + stretch; bytes < end; bytes += 8) {
        TAKE_EIGHT(a, bytes);
        TAKE_EIGHT(b, bytes + stretch);
        TAKE_EIGHT(c, bytes + 2 * stretch);
    }
    return product(over, product(over, (uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

WITH_INSTRUCTION static uint32_t by_instruction(uint32_t remainder, const uint8_t *bytes, size_t length)
{
    uint64_t sum;

    for (; length >= 3 * LONG_STRETCH; bytes += 3 * LONG_STRETCH, length -= 3 * LONG_STRETCH)
        remainder = three_stretches(remainder, bytes, LONG_STRETCH, over_long);
    for (; length >= 3 * SHORT_STRETCH; bytes += 3 * SHORT_STRETCH, length -= 3 * SHORT_STRETCH)
        remainder = three_stretches(remainder, bytes, SHORT_STRETCH, over_short);
    sum = remainder;
    for (; length >= 8; bytes += 8, length -= 8)
        TAKE_EIGHT(sum, bytes);
    for (; length; bytes++, length--)
        TAKE_ONE(sum, *bytes);
    return (uint32_t)sum;
}
#endif

/* The CRC32C of bytes of which `before` is the CRC32C, followed by these; 0 is that of no bytes. */
EXPORTED uint32_t safepoint_crc32c(const uint8_t *bytes, size_t length, uint32_t before)
{
#ifdef HAS_INSTRUCTION
    if (has_instruction())
        return ~by_instruction(~before, bytes, length);
#endif
    return ~by_tables(~before, bytes, length);
}

/* The CRC32C of two stretches of bytes, from those of each and the length of the second. */
EXPORTED uint32_t safepoint_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_length)
{
    return product(power_of_bytes(second_length), first) ^ second;
}

/*
 * Commits in WAL: what pg_waldump calls COMMIT and COMMIT_PREPARED, which begin with the commit's time. Only records
 * that lie whole in the bytes given count, and only when their CRC is right. Whatever cannot be followed (zeros behind a
 * switch, a torn page, garbage) is passed over up to the next page.
 * Source: PostgreSQL 15-18, src/include/access/xlog_internal.h, xlogrecord.h, xact.h.
 */
#define SHORT_HEADER 24
#define LONG_HEADER 40
#define RECORD_HEADER 24
#define IS_CONTINUED 0x0001
#define IS_LONG 0x0002
#define TRANSACTION_MANAGER 1
#define LONGEST_HEADS 16 /* origin, transaction on top, main data's length; whatever more there is, is no commit's */
#define TIME_BYTES 8

struct wal {
    const uint8_t *bytes;
    size_t length;
    uint64_t start;
};

/* Where the first commit ends and when it was, the same of the last, and the latest time of all. */
struct commits {
    uint64_t count, first_end, last_end;
    int64_t first_time, last_time, latest;
};

/* Its contents lie in [contents, end), `remaining` of them to a record that began before. */
struct page {
    size_t contents, end;
    uint32_t remaining;
    int is_continued;
};

INLINED uint16_t two_bytes(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, 2);
    return value;
}

INLINED uint32_t four_bytes(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

INLINED uint64_t eight_bytes(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

/* Whether a page of this very position begins at the offset; its contents may be cut short by the end of the bytes. */
static int page_at(const struct wal *wal, size_t offset, struct page *page)
{
    const uint8_t *head = wal->bytes + offset;
    size_t header;

    if (wal->length < SHORT_HEADER || offset > wal->length - SHORT_HEADER)
        return 0;
    switch (two_bytes(head)) {
    case 0xD110: /* 15 */
    case 0xD113: /* 16 */
    case 0xD116: /* 17 */
    case 0xD118: /* 18 */
        break;
    default:
        return 0;
    }
    if (eight_bytes(head + 8) != wal->start + offset)
        return 0;
    header = two_bytes(head + 2) & IS_LONG ? LONG_HEADER : SHORT_HEADER;
    page->contents = offset + header;
    page->end = wal->length - offset < PAGE_BYTES ? wal->length : offset + PAGE_BYTES;
    page->is_continued = (two_bytes(head + 2) & IS_CONTINUED) != 0;
    page->remaining = four_bytes(head + 16);
    return page->contents <= page->end;
}

/* Copies up to `count` bytes of a record, or only sums them up (`to` is null); moves `offset` behind them. `left` are
 * those of the record from there on, which the next page's header repeats. Whether they were all there. */
static int take(const struct wal *wal, size_t *offset, size_t *page_end, uint32_t left, size_t count, uint8_t *to,
                uint32_t *sum)
{
    while (count) {
        size_t room = *page_end - *offset;
        if (!room) {
            struct page page;
            if (!page_at(wal, *page_end, &page) || !page.is_continued || page.remaining != left)
                return 0;
            *offset = page.contents;
            *page_end = page.end;
            room = page.end - page.contents;
            if (!room)
                return 0;
        }
        if (room > count)
            room = count;
        if (to) {
            memcpy(to, wal->bytes + *offset, room);
            to += room;
        }
        if (sum)
            *sum = safepoint_crc32c(wal->bytes + *offset, room, *sum);
        *offset += room;
        count -= room;
        left -= (uint32_t)room;
    }
    return 1;
}

/* Where main data begins in what stands behind a record's header; 0 when that is no commit's. */
static size_t main_data(const uint8_t *heads, size_t length)
{
    size_t at = 0;

    if (at < length && heads[at] == 253) /* where it was replicated from */
        at += 3;
    if (at < length && heads[at] == 252) /* the transaction on top */
        at += 5;
    if (at < length && heads[at] == 255)
        return at + 2;
    return at < length && heads[at] == 254 ? at + 5 : 0;
}

/* The record at `offset` is a commit, whole and sound: its time. */
static int is_commit(const struct wal *wal, size_t offset, size_t page_end, const uint8_t *header, int64_t *time)
{
    uint8_t heads[LONGEST_HEADS + TIME_BYTES] = {0};
    uint32_t total = four_bytes(header), body = total - RECORD_HEADER, sum = 0;
    size_t known = body < sizeof heads ? body : sizeof heads, data;

    if (!take(wal, &offset, &page_end, body, known, heads, &sum))
        return 0;
    data = main_data(heads, known);
    if (!data || data + TIME_BYTES > known)
        return 0;
    if (!take(wal, &offset, &page_end, body - (uint32_t)known, body - known, NULL, &sum))
        return 0;
    if (safepoint_crc32c(header, RECORD_HEADER - 4, sum) != four_bytes(header + 20))
        return 0;
    memcpy(time, heads + data, TIME_BYTES);
    return 1;
}

static void count_commit(struct commits *found, uint64_t end, int64_t time)
{
    if (!found->count) {
        found->first_end = end;
        found->first_time = time;
    }
    if (!found->count || time > found->latest)
        found->latest = time;
    found->last_end = end;
    found->last_time = time;
    found->count++;
}

/* Moves `offset` behind `left` bytes of a record and what aligns them; whether more may follow there. */
static int pass(const struct wal *wal, size_t *offset, size_t *page_end, uint32_t left)
{
    while (left > *page_end - *offset) {
        struct page page;
        left -= (uint32_t)(*page_end - *offset);
        if (!page_at(wal, *page_end, &page) || !page.is_continued || page.remaining != left)
            return 0;
        *offset = page.contents;
        *page_end = page.end;
    }
    *offset += left;
    *offset += (size_t)(-(wal->start + *offset) & 7);
    return *offset <= *page_end;
}

/* Counts commits from the record at `offset` on, as far as one follows the other. */
static void commits_from(const struct wal *wal, size_t *offset, size_t *page_end, struct commits *found)
{
    for (;;) {
        uint8_t header[RECORD_HEADER];
        size_t behind = *offset, behind_end = *page_end;
        uint32_t total;
        int64_t time = 0;
        int is_one = 0;

        if (*offset >= *page_end || *page_end - *offset < 4)
            return; /* records are aligned: a length is never cut */
        total = four_bytes(wal->bytes + *offset);
        if (total < RECORD_HEADER)
            return;
        if (*page_end - *offset >= RECORD_HEADER && wal->bytes[*offset + 17] != TRANSACTION_MANAGER) {
            if (!pass(wal, offset, page_end, total))
                return;
            continue;
        }
        if (!take(wal, &behind, &behind_end, total, RECORD_HEADER, header, NULL))
            return;
        if (header[17] == TRANSACTION_MANAGER && ((header[16] & 0x70) == 0x00 || (header[16] & 0x70) == 0x30))
            is_one = is_commit(wal, behind, behind_end, header, &time);
        if (!pass(wal, offset, page_end, total))
            return;
        if (is_one)
            count_commit(found, wal->start + *offset, time);
    }
}

/* The commits in WAL that begins at the LSN `start`, in the order of WAL. Reads nothing outside, whatever is there. */
EXPORTED void safepoint_commits(const uint8_t *bytes, size_t length, uint64_t start, struct commits *found)
{
    const struct wal wal = {bytes, length, start};
    size_t boundary = (size_t)(-start & (PAGE_BYTES - 1));

    memset(found, 0, sizeof *found);
    while (boundary < length) {
        struct page page;
        size_t offset, page_end;

        if (!page_at(&wal, boundary, &page)) {
            boundary += PAGE_BYTES;
            continue;
        }
        offset = page.contents;
        page_end = page.end;
        if (!page.is_continued || pass(&wal, &offset, &page_end, page.remaining))
            commits_from(&wal, &offset, &page_end, found);
        /* What stopped it lies on the page that ends here: go on with the next one. */
        boundary += PAGE_BYTES * ((page_end - boundary + PAGE_BYTES - 1) / PAGE_BYTES);
    }
}

EXPORTED uint32_t safepoint_kernel_layout(void)
{
    return LAYOUT;
}
