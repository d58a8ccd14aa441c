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

enum { TABLE_BITS = 15 };

typedef struct {
    const byte *text; /* lives as long as the tuple */
    Py_ssize_t size;
} Marker;

typedef struct {
    PyObject_HEAD
    PyObject *tuple;
    Marker *markers;
    Py_ssize_t count;
    Py_ssize_t stride;
    uint32_t mask; /* the bytes of a block */
    byte table[1 << (TABLE_BITS - 3)]; /* a bit for each block that may be in a marker */
} Markers;

static uint32_t
place_of_block(const Markers *self, const byte *at)
{
    return (little_endian(at) & self->mask) * UINT32_C(2654435761) >> (32 - TABLE_BITS);
}

/* Return the first place from `start` up to `stop` where a marker stands whole, or -1. */
static Py_ssize_t
look_closely(const Markers *self, const byte *data, Py_ssize_t length, Py_ssize_t start, Py_ssize_t stop)
{
    for (Py_ssize_t at = start; at < stop; at++) {
        for (const Marker *marker = self->markers; marker < self->markers + self->count; marker++) {
            if (data[at] == marker->text[0] && marker->size <= length - at &&
                !memcmp(data + at, marker->text, (size_t)marker->size)) {
                return at;
            }
        }
    }
    return -1;
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
    const byte *data = (const byte *)text;
    start = start < 0 ? 0 : start;
    end = end > length ? length : end;
    while (start < end && start <= length - 4 - (self->stride - 1)) {
        uint32_t place = place_of_block(self, data + start + self->stride - 1);
        Py_ssize_t next = start + self->stride;
        if (self->table[place >> 3] >> (place & 7) & 1) {
            Py_ssize_t hit = look_closely(self, data, length, start, next < end ? next : end);
            if (hit >= 0) {
                return PyLong_FromSsize_t(hit);
            }
        }
        start = next;
    }
    return PyLong_FromSsize_t(look_closely(self, data, length, start, end));
}

/* Take the markers over, and choose the blocks: the wider, the rarer; but the further apart, the fewer. */
static int
prepare(Markers *self)
{
    Py_ssize_t shortest = PY_SSIZE_T_MAX, width;
    self->count = PyTuple_Size(self->tuple);
    size_t bytes = ((size_t)self->count + 1) * sizeof *self->markers;
    self->markers = PyMem_Malloc(bytes); /* the stable ABI of 3.9 has no PyMem_Calloc */
    if (self->markers == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(self->markers, 0, bytes);
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
        marker->text = (const byte *)text;
        shortest = marker->size < shortest ? marker->size : shortest;
    }
    shortest = self->count ? shortest : 1;
    width = shortest < 7 ? (shortest + 1) / 2 : 4;
    self->mask = UINT32_MAX >> (32 - 8 * width);
    self->stride = shortest - width + 1;
    for (const Marker *marker = self->markers; marker < self->markers + self->count; marker++) {
        for (Py_ssize_t at = 0; at < self->stride; at++) {
            byte block[4] = {0};
            memcpy(block, marker->text + at, (size_t)width);
            uint32_t place = place_of_block(self, block);
            self->table[place >> 3] |= (byte)(1 << (place & 7));
        }
    }
    return 0;
}

static PyObject *
Markers_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *markers;
    if (keywords != NULL || !PyArg_ParseTuple(args, "O", &markers)) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "Markers takes no keywords");
    }
    Markers *self = (Markers *)PyType_GenericAlloc(type, 0);
    if (self != NULL && ((self->tuple = PySequence_Tuple(markers)) == NULL || prepare(self))) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void
Markers_dealloc(Markers *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_Free(self->markers);
    Py_XDECREF(self->tuple);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef Markers_methods[] = {
    {"first", (PyCFunction)Markers_first, METH_VARARGS, "Return where the first marker begins, or -1."},
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

/* Lines are counted eight bytes at a time: a newline leaves a one in the byte of the sum that it stands in. */
PyObject *leakhunt_count_lines(PyObject *module, PyObject *args); /* for _fast.c */
PyObject *
leakhunt_count_lines(PyObject *Py_UNUSED(module), PyObject *args)
{
    const uint64_t low = 0x7f7f7f7f7f7f7f7f, newlines = 0x0a0a0a0a0a0a0a0a;
    PyObject *object;
    char *text;
    Py_ssize_t length, start, end, count = 0;
    if (!PyArg_ParseTuple(args, "Snn", &object, &start, &end) ||
        PyBytes_AsStringAndSize(object, &text, &length) < 0) {
        return NULL;
    }
    start = start < 0 ? 0 : start;
    end = end > length ? length : end;
    while (end - start >= 8) {
        uint64_t sums = 0;
        int words = 0;
        for (; words < 255 && end - start >= 8; words++, start += 8) { /* more would spill over into the next byte */
            uint64_t word;
            memcpy(&word, text + start, 8);
            word ^= newlines;
            sums += (~(((word & low) + low) | word | low)) >> 7;
        }
        for (; sums; sums >>= 8) {
            count += (Py_ssize_t)(sums & 0xff);
        }
    }
    for (; start < end; start++) {
        count += text[start] == '\n';
    }
    return PyLong_FromSsize_t(count);
}
