/* Runs of traces in a pickle, summed up by traceback; where this is not built, leakhunt/readers/runs.py is used.

   Every byte read here is a stranger's: nothing is read outside the bytes given, and memory grows only with what
   has been read, never by a number in it. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x03090000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(PYPY_VERSION) || defined(Py_GIL_DISABLED)
#error "made for CPython's stable ABI; elsewhere the Python that this stands in for is used"
#endif

typedef unsigned char byte;

extern PyType_Spec leakhunt_markers_spec; /* in _fast_markers.c */
PyObject *leakhunt_count_lines(PyObject *module, PyObject *args); /* likewise */

static uint32_t
little_endian(const byte *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* What a trace is made of. Each function moves on over what it knows, or returns 0 or NULL and stays. */

/* Pass over a FRAME, which only helps readers to buffer and may stand between any two values. */
static const byte *
behind_frame(const byte *at, const byte *end)
{
    return end - at >= 9 && *at == 0x95 ? at + 9 : at;
}

/* Return where the operand of an opcode stands. */
static const byte *
take(const byte **at, const byte *end, byte opcode, int size)
{
    const byte *p = behind_frame(*at, end);
    if (end - p <= size || *p != opcode) {
        return NULL;
    }
    *at = p + 1 + size;
    return p + 1;
}

/* Two bytes: an opcode and what it must have, or two opcodes. */
static int
take_pair(const byte **at, const byte *end, byte first, byte second)
{
    const byte *p = *at, *other = take(&p, end, first, 1);
    if (other == NULL || *other != second) {
        return 0;
    }
    *at = p;
    return 1;
}

static int
take_reference(const byte **at, const byte *end, uint32_t *index)
{
    const byte *p;
    if ((p = take(at, end, 'h', 1)) != NULL) {
        *index = *p;
    }
    else if ((p = take(at, end, 'j', 4)) != NULL) {
        *index = little_endian(p);
    }
    return p != NULL;
}

static int
take_number(const byte **at, const byte *end, int32_t *number)
{
    const byte *p;
    if ((p = take(at, end, 'K', 1)) != NULL) {
        *number = *p;
    }
    else if ((p = take(at, end, 'M', 2)) != NULL) {
        *number = p[0] | p[1] << 8;
    }
    else if ((p = take(at, end, 'J', 4)) != NULL) {
        *number = (int32_t)little_endian(p);
    }
    return p != NULL;
}

typedef struct {
    uint32_t index; /* in the memo: of its file name, or of itself where it is defined before */
    int32_t lineno;
    int defined; /* whether here */
} Frame;

static int
take_frame(const byte **at, const byte *end, Frame *frame)
{
    if (!take_reference(at, end, &frame->index)) {
        return 0;
    }
    const byte *p = *at;
    frame->defined = take_number(&p, end, &frame->lineno) && take_pair(&p, end, 0x86, 0x94);
    if (frame->defined) {
        *at = p;
    }
    return 1;
}

static int
is_memoizing(byte opcode)
{
    return opcode == 0x94 || opcode == 'q' || opcode == 'r' || opcode == 'p';
}

/* A trace in the form of CPython's pickler, or in the compact one of leakhunt/capture/snapshots/traces.py: frames may be
   references to earlier ones, the trace itself is not memoized, and each DUP behind it is it once more. */
typedef struct {
    int32_t size;
    uint32_t traceback; /* the memo index of a known traceback, where there are no frames */
    const byte *frames;
    Py_ssize_t depth;   /* how many frames */
    Py_ssize_t defined; /* how many of them are no references */
    int32_t total_nframe;
    int memoized;
    uint64_t blocks; /* how often it is there */
} Trace;

enum { LONGEST = 1 << 17 }; /* bytes of frames in one trace: fewer frames than the machine would take */

static const uint64_t MOST_BLOCKS = (uint64_t)1 << 32; /* of 2**31 bytes at most: twice as many cannot overflow a sum */

static int
take_frames(const byte **at, const byte *end, Trace *trace)
{
    const byte *p = *at;
    Frame frame;
    int long_one = take(&p, end, '(', 0) != NULL;
    trace->frames = p;
    if (long_one) {
        const byte *limit = end - p > LONGEST ? p + LONGEST : end;
        do {
            if (!take_frame(&p, limit, &frame)) {
                return 0;
            }
            trace->depth++;
            trace->defined += frame.defined;
        } while (!take_pair(&p, limit, 't', 0x94));
    }
    else { /* up to three frames need no mark, and other opcodes close them */
        while (trace->depth < 3 && take_frame(&p, end, &frame)) {
            trace->depth++;
            trace->defined += frame.defined;
        }
        if (trace->depth == 0 || !take_pair(&p, end, (byte)(0x84 + trace->depth), 0x94)) {
            return 0;
        }
    }
    *at = p;
    return 1;
}

/* Take what stands behind the traceback. */
static int
take_rest(const byte **at, const byte *end, int fields, Trace *trace)
{
    const byte *p = *at;
    trace->total_nframe = 0;
    if (fields == 4 && (!take_number(&p, end, &trace->total_nframe) || trace->total_nframe < 0)) {
        return 0;
    }
    if (take(&p, end, fields == 4 ? 't' : 0x87, 0) == NULL) {
        return 0;
    }
    trace->memoized = p < end && *p == 0x94;
    p += trace->memoized;
    const byte *dups = p;
    while (p < end && *p == '2') {
        p++;
    }
    trace->blocks = 1 + (uint64_t)(p - dups);
    const byte *next = behind_frame(p, end);
    if (next == end || *next == 0x95 || *next == '2' || is_memoizing(*next) || trace->blocks > MOST_BLOCKS) {
        return 0; /* there may be more of them; and who memoizes it again will need it */
    }
    *at = p;
    return 1;
}

static int
take_trace(const byte **at, const byte *end, int fields, Trace *trace)
{
    const byte *p = *at, *known;
    take_pair(&p, end, 'e', '('); /* one batch ends and the next begins */
    if (fields == 4 && take(&p, end, '(', 0) == NULL) {
        return 0;
    }
    if (!take_pair(&p, end, 'K', 0) || !take_number(&p, end, &trace->size) || trace->size < 0) {
        return 0;
    }
    trace->depth = trace->defined = 0;
    known = p;
    if (take_reference(&known, end, &trace->traceback) && take_rest(&known, end, fields, trace)) {
        *at = known;
        return 1;
    }
    if (!take_frames(&p, end, trace) || !take_rest(&p, end, fields, trace)) {
        return 0;
    }
    *at = p;
    return 1;
}

/* Runs: the traces of one dump, summed up by traceback. */

typedef struct {
    uint64_t size;
    uint64_t count;
    int64_t stack; /* its number */
} Traceback;

typedef struct {
    uint64_t key;
    PyObject *number; /* NULL where there is none */
} NumberedFrame;

typedef struct {
    PyObject_HEAD
    int fields;
    uint64_t blocks; /* since the sums were drained */
    Traceback *tracebacks;
    size_t tracebacks_used, tracebacks_room;
    PyObject **known_frames; /* numbers of the frames that compact traces may refer to */
    size_t known_frames_used, known_frames_room;
    uint32_t *by_memo; /* from memo index to place in one of both, counted from 1; A_FRAME is added for a frame */
    size_t by_memo_room;
    NumberedFrame *frames; /* a hash table with open addresses */
    size_t frames_used;
    int frames_bits;
    uint64_t multiplier;
} Runs;

static const uint32_t A_FRAME = (uint32_t)1 << 31;

/* Return the array with room for one at `place`, or NULL; it doubles where it must grow, and what is new is zero. */
static void *
with_room(void *array, size_t *room, size_t place, size_t width)
{
    if (place < *room) {
        return array;
    }
    size_t wanted = place < 512 ? 1024 : 2 * place;
    char *larger = wanted > SIZE_MAX / width / 2 ? NULL : PyMem_Realloc(array, wanted * width);
    if (larger == NULL) {
        return PyErr_NoMemory();
    }
    memset(larger + *room * width, 0, (wanted - *room) * width);
    *room = wanted;
    return larger;
}

/* Return where to say what a memo index stands for, the `used`th of its kind, or NULL. */
static uint32_t *
place_of(Runs *self, size_t memo, size_t used)
{
    if (memo > UINT32_MAX || used >= A_FRAME - 1) {
        PyErr_SetString(PyExc_OverflowError, "more than a memo index can say");
        return NULL;
    }
    uint32_t *by_memo = with_room(self->by_memo, &self->by_memo_room, memo, sizeof *by_memo);
    if (by_memo == NULL) {
        return NULL;
    }
    self->by_memo = by_memo;
    return &by_memo[memo];
}

/* Have a memo index stand for a traceback, and return that, or NULL. */
static Traceback *
gather(Runs *self, size_t memo, int64_t stack)
{
    uint32_t *place = place_of(self, memo, self->tracebacks_used);
    if (place == NULL) {
        return NULL;
    }
    Traceback *tracebacks =
        with_room(self->tracebacks, &self->tracebacks_room, self->tracebacks_used, sizeof *tracebacks);
    if (tracebacks == NULL) {
        return NULL;
    }
    self->tracebacks = tracebacks;
    Traceback *traceback = &tracebacks[self->tracebacks_used++];
    traceback->stack = stack;
    *place = (uint32_t)self->tracebacks_used;
    return traceback;
}

static Traceback *
known(Runs *self, size_t memo)
{
    uint32_t place = memo < self->by_memo_room ? self->by_memo[memo] : 0;
    return place && place < A_FRAME ? &self->tracebacks[place - 1] : NULL;
}

/* Have a memo index stand for a frame that has a number. */
static int
keep_frame(Runs *self, size_t memo, PyObject *number)
{
    uint32_t *place = place_of(self, memo, self->known_frames_used);
    PyObject **frames = place == NULL ? NULL
                                      : with_room(self->known_frames, &self->known_frames_room,
                                                  self->known_frames_used, sizeof *frames);
    if (frames == NULL) {
        return -1;
    }
    self->known_frames = frames;
    Py_INCREF(number);
    frames[self->known_frames_used++] = number;
    *place = A_FRAME + (uint32_t)self->known_frames_used;
    return 0;
}

/* Return the number of the frame that a memo index stands for, borrowed, or NULL. */
static PyObject *
known_frame(Runs *self, size_t memo)
{
    uint32_t place = memo < self->by_memo_room ? self->by_memo[memo] : 0;
    return place > A_FRAME ? self->known_frames[place - A_FRAME - 1] : NULL;
}

static NumberedFrame *
find_frame(NumberedFrame *frames, int bits, uint64_t multiplier, uint64_t key)
{
    size_t mask = ((size_t)1 << bits) - 1;
    size_t at = (size_t)(key * multiplier >> (64 - bits));
    while (frames[at].number != NULL && frames[at].key != key) {
        at = (at + 1) & mask;
    }
    return &frames[at];
}

static int
more_frames(Runs *self)
{
    int bits = self->frames_bits ? self->frames_bits + 1 : 10;
    size_t before = self->frames_bits ? (size_t)1 << self->frames_bits : 0;
    size_t bytes = sizeof(NumberedFrame) << bits;
    NumberedFrame *larger = PyMem_Malloc(bytes); /* the stable ABI of 3.9 has no PyMem_Calloc */
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(larger, 0, bytes);
    for (size_t at = 0; at < before; at++) {
        if (self->frames[at].number != NULL) {
            *find_frame(larger, bits, self->multiplier, self->frames[at].key) = self->frames[at];
        }
    }
    PyMem_Free(self->frames);
    self->frames = larger;
    self->frames_bits = bits;
    return 0;
}

/* Return a new reference to the number of a frame; only for a new one Python is asked. */
static PyObject *
number_of_frame(Runs *self, Frame frame, PyObject *number_frame)
{
    uint64_t key = (uint64_t)frame.index << 32 | (uint32_t)frame.lineno;
    NumberedFrame *found = find_frame(self->frames, self->frames_bits, self->multiplier, key);
    if (found->number == NULL) {
        PyObject *number = PyObject_CallFunction(number_frame, "Il", (unsigned int)frame.index,
                                                 (long)frame.lineno);
        if (number == NULL) {
            return NULL;
        }
        if (self->frames_used >> (self->frames_bits - 1) && more_frames(self)) {
            Py_DECREF(number);
            return NULL;
        }
        /* The call may have moved the table. */
        found = find_frame(self->frames, self->frames_bits, self->multiplier, key);
        if (found->number == NULL) {
            found->key = key;
            found->number = number;
            self->frames_used++;
        }
        else {
            Py_DECREF(number);
        }
    }
    Py_INCREF(found->number);
    return found->number;
}

/* Return a new reference to the number of a frame that is referred to; Python may have read it. */
static PyObject *
number_of_known_frame(Runs *self, size_t memo, size_t memo_size, PyObject *number_frame)
{
    PyObject *number = known_frame(self, memo);
    if (number != NULL) {
        Py_INCREF(number);
        return number;
    }
    number = PyObject_CallFunction(number_frame, "IO", (unsigned int)memo, Py_None);
    /* A stranger's index may be huge. */
    if (number != NULL && memo < memo_size && keep_frame(self, memo, number)) {
        Py_CLEAR(number);
    }
    return number;
}

/* Return the stack of a trace that has its own, oldest frame first. */
static PyObject *
new_stack(Runs *self, const Trace *trace, const byte *end, size_t memo_size, PyObject *number_frame)
{
    PyObject *stack = PyTuple_New(trace->depth);
    const byte *p = trace->frames;
    size_t memo = memo_size;
    Frame frame;
    for (Py_ssize_t at = trace->depth; stack != NULL && at > 0 && take_frame(&p, end, &frame); at--) {
        PyObject *number = frame.defined ? number_of_frame(self, frame, number_frame)
                                         : number_of_known_frame(self, frame.index, memo, number_frame);
        if (frame.defined && !trace->memoized && number != NULL && keep_frame(self, memo, number)) {
            Py_CLEAR(number);
        }
        memo += (size_t)frame.defined;
        if (number == NULL || PyTuple_SetItem(stack, at - 1, number)) {
            Py_CLEAR(stack);
        }
    }
    return stack;
}

/* Append and let go of a new object, which is NULL after an error. */
static int
append(PyObject *list, PyObject *item)
{
    int status = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return status;
}

/* Take a trace that has a traceback of its own, where so many values are memoized before. */
static Traceback *
define(Runs *self, const Trace *trace, const byte *end, size_t memo_size, Py_ssize_t first_stack,
       PyObject *number_frame, PyObject *stacks, PyObject *nframes)
{
    int64_t number = (int64_t)first_stack + PyList_Size(stacks);
    if (append(stacks, new_stack(self, trace, end, memo_size, number_frame)) ||
        append(nframes, PyLong_FromLong(trace->total_nframe))) {
        return NULL;
    }
    return gather(self, memo_size + (size_t)trace->defined, number);
}

static PyObject *
Runs_take(Runs *self, PyObject *args)
{
    PyObject *data, *number_frame;
    Py_ssize_t pos, memo_size, first_stack, length, blocks = 0;
    char *start;
    if (!PyArg_ParseTuple(args, "SnnnO", &data, &pos, &memo_size, &first_stack, &number_frame) ||
        PyBytes_AsStringAndSize(data, &start, &length)) {
        return NULL;
    }
    if (pos < 0 || pos > length || memo_size < 0 || first_stack < 0) {
        PyErr_SetString(PyExc_ValueError, "outside of the data");
        return NULL;
    }
    PyObject *stacks = PyList_New(0), *nframes = PyList_New(0);
    const byte *p = (const byte *)start + pos, *end = (const byte *)start + length;
    int failed = stacks == NULL || nframes == NULL, dangling = 0;
    Trace trace;
    while (!failed && self->blocks < MOST_BLOCKS && take_trace(&p, end, self->fields, &trace)) {
        Traceback *traceback = trace.depth ? define(self, &trace, end, (size_t)memo_size, first_stack,
                                                    number_frame, stacks, nframes)
                                           : known(self, trace.traceback);
        if (traceback != NULL) {
            traceback->size += (uint64_t)trace.size * trace.blocks;
            traceback->count += trace.blocks;
        }
        else if (trace.depth) {
            failed = 1;
        }
        else {
            dangling = 1;
        }
        memo_size += (trace.depth ? trace.defined + 1 : 0) + trace.memoized;
        blocks += (Py_ssize_t)trace.blocks;
        self->blocks += trace.blocks;
    }
    PyObject *result = failed ? NULL
                              : Py_BuildValue("nnnOO", (Py_ssize_t)((const char *)p - start), memo_size,
                                              dangling ? -1 : blocks, stacks, nframes);
    Py_XDECREF(stacks);
    Py_XDECREF(nframes);
    return result;
}

static PyObject *
Runs_gather(Runs *self, PyObject *args)
{
    Py_ssize_t memo, stack;
    if (!PyArg_ParseTuple(args, "nn", &memo, &stack) || gather(self, (size_t)memo, stack) == NULL) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Runs_number_of(Runs *self, PyObject *index)
{
    Py_ssize_t memo = PyLong_AsSsize_t(index);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Traceback *traceback = memo < 0 ? NULL : known(self, (size_t)memo);
    return PyLong_FromLongLong(traceback == NULL ? -1 : traceback->stack);
}

static PyObject *
Runs_frame_of(Runs *self, PyObject *index)
{
    Py_ssize_t memo = PyLong_AsSsize_t(index);
    if (PyErr_Occurred()) {
        return NULL;
    }
    PyObject *number = memo < 0 ? NULL : known_frame(self, (size_t)memo);
    if (number == NULL) {
        return PyLong_FromLong(-1);
    }
    Py_INCREF(number);
    return number;
}

static PyObject *
Runs_drain(Runs *self, PyObject *Py_UNUSED(none))
{
    PyObject *stacks = PyList_New(0), *sizes = PyList_New(0), *counts = PyList_New(0);
    int failed = stacks == NULL || sizes == NULL || counts == NULL;
    for (size_t at = 0; !failed && at < self->tracebacks_used; at++) {
        Traceback *traceback = &self->tracebacks[at];
        if (traceback->count) {
            failed = append(stacks, PyLong_FromLongLong(traceback->stack)) ||
                     append(sizes, PyLong_FromUnsignedLongLong(traceback->size)) ||
                     append(counts, PyLong_FromUnsignedLongLong(traceback->count));
            traceback->size = traceback->count = 0;
        }
    }
    self->blocks = 0;
    PyObject *sums = failed ? NULL : PyTuple_Pack(3, stacks, sizes, counts);
    Py_XDECREF(stacks);
    Py_XDECREF(sizes);
    Py_XDECREF(counts);
    return sums;
}

static PyObject *
Runs_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    int fields;
    if (keywords != NULL || !PyArg_ParseTuple(args, "i", &fields)) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "Runs takes no keywords");
    }
    if (fields != 3 && fields != 4) {
        return PyErr_Format(PyExc_ValueError, "traces of %d fields are not known", fields);
    }
    /* The hash of bytes is keyed anew in each process, so that nobody can write frames that share a place. */
    PyObject *secret = PyBytes_FromString("leakhunt");
    Py_hash_t hash = secret == NULL ? -1 : PyObject_Hash(secret);
    Py_XDECREF(secret);
    Runs *self = PyErr_Occurred() ? NULL : (Runs *)PyType_GenericAlloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->fields = fields;
    self->multiplier = ((uint64_t)hash ^ UINT64_C(0x9E3779B97F4A7C15)) | 1;
    if (more_frames(self)) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void
Runs_dealloc(Runs *self)
{
    PyTypeObject *type = Py_TYPE(self);
    for (size_t at = 0; self->frames != NULL && at < (size_t)1 << self->frames_bits; at++) {
        Py_XDECREF(self->frames[at].number);
    }
    for (size_t at = 0; at < self->known_frames_used; at++) {
        Py_DECREF(self->known_frames[at]);
    }
    PyMem_Free(self->known_frames);
    PyMem_Free(self->frames);
    PyMem_Free(self->by_memo);
    PyMem_Free(self->tracebacks);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* The module. */

static PyMethodDef Runs_methods[] = {
    {"gather", (PyCFunction)Runs_gather, METH_VARARGS, "Let a memo index stand for a traceback."},
    {"number_of", (PyCFunction)Runs_number_of, METH_O, "Return the stack's number at a memo index, or -1."},
    {"frame_of", (PyCFunction)Runs_frame_of, METH_O, "Return the frame's number at a memo index, or -1."},
    {"take", (PyCFunction)Runs_take, METH_VARARGS, "Take whole traces until one does not fit."},
    {"drain", (PyCFunction)Runs_drain, METH_NOARGS, "Hand over the sums."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot Runs_slots[] = {
    {Py_tp_doc, "Traces straight from the bytes of a pickle, summed up by traceback."},
    {Py_tp_new, Runs_new},
    {Py_tp_dealloc, Runs_dealloc},
    {Py_tp_methods, Runs_methods},
    {0, NULL},
};
static PyType_Spec Runs_spec = {"leakhunt.readers._fast.Runs", sizeof(Runs), 0, Py_TPFLAGS_DEFAULT, Runs_slots};

static int
add_type(PyObject *module, PyType_Spec *spec, const char *name)
{
    PyObject *type = PyType_FromSpec(spec);
    if (type == NULL || PyModule_AddObject(module, name, type)) {
        Py_XDECREF(type);
        return -1;
    }
    return 0;
}

static int
add_types(PyObject *module)
{
    return add_type(module, &Runs_spec, "Runs") || add_type(module, &leakhunt_markers_spec, "Markers") ? -1 : 0;
}

static PyMethodDef module_methods[] = {
    {"count_lines", leakhunt_count_lines, METH_VARARGS, "Count the newlines between two places."},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, add_types}, {0, NULL}};
static PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "leakhunt.readers._fast", "The hot parts of reading.", 0, module_methods, module_slots,
    NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__fast(void)
{
    return PyModuleDef_Init(&module);
}
