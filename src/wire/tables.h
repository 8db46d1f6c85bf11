/* wire/tables.h - the tables of schema/graphpipe.fbs: the slot of each field.
 *
 * The reader and the writer rely on these numbers, so the schema is repeated here by
 * hand; tests compare it with the code that flatc generates from the schema. */
#ifndef GP_WIRE_TABLES_H
#define GP_WIRE_TABLES_H

enum { REQ_INFER = 1, REQ_METADATA = 2 }; /* union Req */

enum { REQUEST_REQ_TYPE, REQUEST_REQ };
enum { INFER_CONFIG, INFER_INPUT_NAMES, INFER_INPUT_TENSORS, INFER_OUTPUT_NAMES };
enum { TENSOR_TYPE, TENSOR_SHAPE, TENSOR_DATA, TENSOR_STRING_VAL };
enum { RESPONSE_OUTPUT_TENSORS, RESPONSE_ERRORS };
enum { ERROR_CODE, ERROR_MESSAGE };
enum { IO_NAME, IO_DESCRIPTION, IO_SHAPE, IO_TYPE };
enum {
    METADATA_NAME,
    METADATA_VERSION,
    METADATA_SERVER,
    METADATA_DESCRIPTION,
    METADATA_INPUTS,
    METADATA_OUTPUTS
};

/* All names of a message together, since they are searched more than once. */
#define WIRE_MAX_NAMES_BYTES (1u << 20)

#endif
