/* The first of several markers in a text; where this is not built, leakhunt/readers/markers.py does without.

   One block of bytes in every `stride` is looked at; no marker has room between two of these. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x03090000
#include <Python.h>
#include <stdint.h>
#include <string.h>

typedef unsigned char byte;

static uint32_t
little_endian(const byte *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

enum { TABLE_BITS = 14, LIST_BITS = 10 };

typedef struct {
    const byte *text; /* lives as long as the tuple */
    Py_ssize_t size;
    uint32_t groups; /* a bit for each group that it belongs to */
} Marker;

/* A block of a marker; those that share a list stand one behind the other. */
typedef struct {
    uint32_t block;
    const Marker *marker;
    Py_ssize_t offset;
    size_t next; /* counted from 1 */
} Spot;

typedef struct {
    PyObject_HEAD
    PyObject *tuple;
    Marker *markers;
    Py_ssize_t count;
    Spot *spots;
    Py_ssize_t stride;
    uint32_t mask; /* the bytes of a block */
    uint32_t groups; /* of all markers */
    byte table[1 << TABLE_BITS]; /* whether a block may be in a marker */
    size_t lists[1 << LIST_BITS]; /* the first spot of each list, counted from 1 */
} Markers;

typedef struct {
    Py_ssize_t at; /* -1 where there is none */
    uint32_t groups; /* of those that begin there */
} Hit;

static uint32_t
block_at(const Markers *self, const byte *at)
{
    return little_endian(at) & self->mask;
}

static uint32_t
hash_of(uint32_t block)
{
    return block * UINT32_C(2654435761);
}

static int
stands_at(const Marker *marker, const byte *data, Py_ssize_t length, Py_ssize_t at)
{
    return marker->size <= length - at && !memcmp(data + at, marker->text, (size_t)marker->size);
}

/* Return the first marker whose block stands at `place`, and that begins before `end`. */
static Hit
look_up(const Markers *self, const byte *data, Py_ssize_t length, Py_ssize_t place, uint32_t block, Py_ssize_t end)
{
    Hit hit = {-1, 0};
    for (size_t next = self->lists[hash_of(block) >> (32 - LIST_BITS)]; next; next = self->spots[next - 1].next) {
        const Spot *spot = &self->spots[next - 1];
        Py_ssize_t at = place - spot->offset;
        if (spot->block != block || at >= end || (hit.at >= 0 && at > hit.at) ||
            !stands_at(spot->marker, data, length, at)) {
            continue;
        }
        hit.groups = at == hit.at ? hit.groups | spot->marker->groups : spot->marker->groups;
        hit.at = at;
    }
    return hit;
}

/* Return the first marker that begins from `start` up to `end`, looking at every place. */
static Hit
look_closely(const Markers *self, const byte *data, Py_ssize_t length, Py_ssize_t start, Py_ssize_t end)
{
    Hit hit = {-1, 0};
    for (Py_ssize_t at = start; at < end && hit.at < 0; at++) {
        for (const Marker *marker = self->markers; marker < self->markers + self->count; marker++) {
            if (stands_at(marker, data, length, at)) {
                hit.at = at;
                hit.groups |= marker->groups;
            }
        }
    }
    return hit;
}

static Hit
next_hit(const Markers *self, const byte *data, Py_ssize_t length, Py_ssize_t start, Py_ssize_t end)
{
    Py_ssize_t ahead = self->stride - 1;
    for (; start < end && start <= length - 4 - ahead; start += self->stride) {
        uint32_t block = block_at(self, data + start + ahead);
        if (self->table[hash_of(block) >> (32 - TABLE_BITS)]) {
            Hit hit = look_up(self, data, length, start + ahead, block, end);
            if (hit.at >= 0) {
                return hit;
            }
        }
    }
    return look_closely(self, data, length, start, end);
}

static PyObject *
Markers_first(Markers *self, PyObject *args)
{
    PyObject *bytes;
    Py_ssize_t start, end, length;
    char *text;
    if (!PyArg_ParseTuple(args, "Snn", &bytes, &start, &end) || PyBytes_AsStringAndSize(bytes, &text, &length)) {
        return NULL;
    }
    start = start < 0 ? 0 : start;
    end = end > length ? length : end;
    return PyLong_FromSsize_t(next_hit(self, (const byte *)text, length, start, end).at);
}

static PyObject *
Markers_groups(Markers *self, PyObject *bytes)
{
    char *text;
    Py_ssize_t length;
    uint32_t found = 0;
    if (PyBytes_AsStringAndSize(bytes, &text, &length)) {
        return NULL;
    }
    for (Py_ssize_t at = -1; found != self->groups;) {
        Hit hit = next_hit(self, (const byte *)text, length, at + 1, length);
        if (hit.at < 0) {
            break;
        }
        found |= hit.groups;
        at = hit.at;
    }
    return PyLong_FromUnsignedLong(found);
}

/* PyMem_Calloc, which the stable ABI of 3.9 does not have. */
static void *
zeroed(size_t count, size_t width)
{
    void *room = count < SIZE_MAX / width ? PyMem_Malloc((count + 1) * width) : NULL;
    return room == NULL ? PyErr_NoMemory() : memset(room, 0, (count + 1) * width);
}

/* Put a block of a marker into its list. */
static void
enter(Markers *self, const Marker *marker, Py_ssize_t offset, Py_ssize_t width, size_t number)
{
    byte bytes[4] = {0};
    memcpy(bytes, marker->text + offset, (size_t)width);
    Spot *spot = &self->spots[number];
    spot->block = block_at(self, bytes);
    spot->marker = marker;
    spot->offset = offset;
    uint32_t hash = hash_of(spot->block);
    size_t *list = &self->lists[hash >> (32 - LIST_BITS)];
    spot->next = *list;
    *list = number + 1;
    self->table[hash >> (32 - TABLE_BITS)] = 1;
}

/* Take the markers over, and choose the blocks: the wider, the rarer; but the further apart, the fewer. */
static int
prepare(Markers *self, PyObject *groups)
{
    Py_ssize_t shortest = PY_SSIZE_T_MAX, width;
    self->count = PyTuple_Size(self->tuple);
    self->markers = zeroed((size_t)self->count, sizeof *self->markers);
    if (self->markers == NULL) {
        return -1;
    }
    for (Py_ssize_t number = 0; number < self->count; number++) {
        char *text;
        Marker *marker = &self->markers[number];
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(self->tuple, number), &text, &marker->size)) {
            return -1;
        }
        if (marker->size == 0) {
            PyErr_SetString(PyExc_ValueError, "an empty marker stands everywhere");
            return -1;
        }
        PyObject *group = groups == NULL ? NULL : PySequence_GetItem(groups, number);
        marker->groups = group == NULL ? 1 : (uint32_t)PyLong_AsUnsignedLong(group);
        Py_XDECREF(group);
        if (PyErr_Occurred()) {
            return -1;
        }
        marker->text = (const byte *)text;
        shortest = marker->size < shortest ? marker->size : shortest;
        self->groups |= marker->groups;
    }
    shortest = self->count ? shortest : 1;
    width = shortest < 7 ? (shortest + 1) / 2 : 4;
    self->mask = UINT32_MAX >> (32 - 8 * width);
    self->stride = shortest - width + 1;
    size_t entered = 0;
    self->spots = zeroed((size_t)(self->count * self->stride), sizeof *self->spots);
    if (self->spots == NULL) {
        return -1;
    }
    for (const Marker *marker = self->markers; marker < self->markers + self->count; marker++) {
        for (Py_ssize_t offset = 0; offset < self->stride; offset++) {
            enter(self, marker, offset, width, entered++);
        }
    }
    return 0;
}

static PyObject *
Markers_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *markers, *groups = NULL;
    if (keywords != NULL || !PyArg_ParseTuple(args, "O|O", &markers, &groups)) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "Markers takes no keywords");
    }
    Markers *self = (Markers *)PyType_GenericAlloc(type, 0);
    if (self != NULL && ((self->tuple = PySequence_Tuple(markers)) == NULL || prepare(self, groups))) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void
Markers_dealloc(Markers *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_Free(self->spots);
    PyMem_Free(self->markers);
    Py_XDECREF(self->tuple);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef Markers_methods[] = {
    {"first", (PyCFunction)Markers_first, METH_VARARGS, "Return where the first marker begins, or -1."},
    {"groups", (PyCFunction)Markers_groups, METH_O, "Return the groups of all markers that occur."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot Markers_slots[] = {
    {Py_tp_doc, "Byte strings that are looked for together."},
    {Py_tp_new, Markers_new},
    {Py_tp_dealloc, Markers_dealloc},
    {Py_tp_methods, Markers_methods},
    {0, NULL},
};
extern PyType_Spec leakhunt_markers_spec; /* for _fast.c */
PyType_Spec leakhunt_markers_spec = {"leakhunt.readers._fast.Markers", sizeof(Markers), 0, Py_TPFLAGS_DEFAULT,
                                     Markers_slots};

/* Lines are counted many bytes at a time, each into a sum of its own: where there are no vectors, eight in a word, in
   which a newline leaves a one in the byte that it stands in. */
#if defined(__GNUC__)
enum { LANES = 16 };
typedef byte Sums __attribute__((vector_size(LANES)));

static void
add_newlines(Sums *sums, const char *text)
{
    Sums bytes;
    memcpy(&bytes, text, LANES);
    *sums -= (Sums)(bytes == '\n'); /* a vector's true is minus one */
}
#else
enum { LANES = 8 };
typedef uint64_t Sums;

static void
add_newlines(Sums *sums, const char *text)
{
    const uint64_t low = 0x7f7f7f7f7f7f7f7f, newlines = 0x0a0a0a0a0a0a0a0a;
    uint64_t word;
    memcpy(&word, text, LANES);
    word ^= newlines;
    *sums += (~(((word & low) + low) | word | low)) >> 7;
}
#endif

PyObject *leakhunt_count_lines(PyObject *module, PyObject *args); /* for _fast.c */
PyObject *
leakhunt_count_lines(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *object;
    char *text;
    Py_ssize_t length, start, end, count = 0;
    if (!PyArg_ParseTuple(args, "Snn", &object, &start, &end) ||
        PyBytes_AsStringAndSize(object, &text, &length) < 0) {
        return NULL;
    }
    start = start < 0 ? 0 : start;
    end = end > length ? length : end;
    while (end - start >= LANES) {
        Sums sums = {0};
        byte each[LANES];
        for (int rounds = 0; rounds < 255 && end - start >= LANES; rounds++, start += LANES) { /* a byte holds no more */
            add_newlines(&sums, text + start);
        }
        memcpy(each, &sums, LANES);
        for (int lane = 0; lane < LANES; lane++) {
            count += each[lane];
        }
    }
    for (; start < end; start++) {
        count += text[start] == '\n';
    }
    return PyLong_FromSsize_t(count);
}
